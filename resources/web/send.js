/*
 * Sends files: two at a time, each in a request of its own, so that each has its own progress and its
 * own answer. By XMLHttpRequest, because fetch does not tell how much of a body has gone out.
 */

import { Fault, fault, fill, takes } from "./api.js";
import { preview } from "./preview.js";
import { add, change, drop } from "./tray.js";

/** Files on their way at once: a browser has six connections to a server. */
const AT_ONCE = 2;
/** How often a file is sent again by itself when the server is too busy for it. */
const TRIES = 3;

const waiting = [];
let sending = 0;

/** Takes files to be sent, with the options of now. Where the server can look first, it does. */
export function give(files, options) {
	for (const file of files) {
		const entry = add(file);
		const look = takes("POST", "/file/upload", "dry_run");
		line(entry, options, look ? "look" : "send");
	}
}

function line(entry, options, what) {
	entry.preview = null;
	change(entry, { state: "waiting", over: false, sent: 0, speed: 0, acts: [["Remove", () => forget(entry)]] });
	waiting.push({ entry, options, what, tries: 0 });
	next();
}

function forget(entry) {
	const at = waiting.findIndex((job) => job.entry === entry);
	if (at >= 0) waiting.splice(at, 1);
	drop(entry);
}

function next() {
	while (sending < AT_ONCE && waiting.length > 0) {
		sending += 1;
		send(waiting.shift()).finally(() => {
			sending -= 1;
			next();
		});
	}
}

async function send(job) {
	const { entry, options, what } = job;
	const again = () => line(entry, options, what);
	let answer;
	try {
		answer = await post(entry, what === "look" ? { ...options, dry_run: "true" } : options);
	} catch (refused) {
		if (refused === "aborted") return drop(entry);
		if (refused.status === 503 && refused.after && ++job.tries < TRIES) {
			change(entry, { state: "waiting", sent: 0 });
			await new Promise((resolve) => setTimeout(resolve, refused.after * 1000));
			waiting.unshift(job);
			return;
		}
		if (refused.status === 401) document.dispatchEvent(new CustomEvent("nokey"));
		return change(entry, { state: "refused", over: true, fault: refused, acts: [["Try again", again], ["Remove", () => forget(entry)]] });
	}
	const [first] = answer?.data ?? [answer];
	if (first?.status === undefined ? false : typeof first.status === "number") {
		return change(entry, { state: "refused", over: true, fault: new Fault(first.status, first), acts: [["Try again", again], ["Remove", () => forget(entry)]] });
	}
	if (what === "look") {
		const go = (more) => () => line(entry, { ...options, ...more }, "send");
		const open = first.sheets.some(({ columns }) => columns.some(({ dates }) => dates?.order === "ambiguous"));
		const asked = open ? [["Dates are DD/MM", go({ dates: "dmy" })], ["Dates are MM/DD", go({ dates: "mdy" })]] : [];
		return change(entry, { state: "looked", preview: preview(first), acts: [["Upload", go(), open ? "plain" : "button"], ...asked, ["Remove", () => forget(entry)]] });
	}
	change(entry, { state: "taken", before: first.taken_before, over: true, acts: [["Watch", fill("#/uploads/{id}", { id: first.id })]] });
}

/** One request; resolves to the answer, rejects with a fault, or with "aborted". */
function post(entry, options) {
	return new Promise((resolve, reject) => {
		const request = new XMLHttpRequest();
		const begun = performance.now();
		request.upload.onprogress = ({ loaded, total }) => {
			const seconds = (performance.now() - begun) / 1000;
			change(entry, { state: "sending", sent: loaded, total, speed: seconds > 0.5 ? loaded / seconds : 0 });
		};
		request.upload.onload = () => change(entry, { state: "checking", acts: [] });
		request.onload = () => {
			if (request.status < 400) return resolve(JSON.parse(request.responseText));
			const refused = fault(request.status, request.responseText);
			refused.after = Number(request.getResponseHeader("retry-after")) || 0;
			reject(refused);
		};
		request.onabort = () => reject("aborted");
		request.onerror = () => reject(new Fault(0, {
			title: "The connection broke",
			detail: "The file was not taken, or nobody can say. Look at the list before you send it again.",
		}));
		const query = new URLSearchParams(Object.entries(options).filter(([, value]) => value));
		request.open("POST", `file/upload${query.size ? `?${query}` : ""}`);
		const form = new FormData();
		form.append("files", entry.file, entry.file.name);
		change(entry, { state: "sending", total: entry.file.size, acts: [["Stop", () => request.abort()]] });
		request.send(form);
	});
}

/* One upload: how far it is, what has failed and where, and what can be done about it. */

import { ask, can, fill } from "./api.js";
import { question } from "./ask.js";
import { bar, ended, partsOf, status, tell } from "./bars.js";
import { Course, chart } from "./chart.js";
import { button, copy, keep, loading, make, part, problem, say, tiles, write } from "./dom.js";
import { downloads } from "./downloads.js";
import { failures } from "./failures.js";
import { bytes, count, lasting, moment, number, percent, rate } from "./format.js";
import { follow } from "./link.js";
import { rows } from "./rows.js";
import { announce, report } from "./spoken.js";

const OVER = ["ended", "failed", "cancelled"];

export function uploadView(id) {
	const node = copy("upload");
	say(node, { filename: "Upload" });
	return { node, title: "Upload", run: (signal) => run(node, id, signal) };
}

function run(node, id, signal) {
	const path = fill("/uploads/{id}", { id });
	loading(part(node, "problem"));
	const course = new Course(id);
	const drawn = chart();
	part(node, "chart").replaceChildren(drawn.figure);
	const bars = { read: bar("Read from the file"), work: bar("Processed") };
	part(node, "readBar").replaceChildren(bars.read);
	part(node, "workBar").replaceChildren(bars.work);
	const bad = failures(node, id, signal);
	const table = rows(part(node, "rows"), path, signal);
	const files = downloads(node, id, signal);
	let now = null;
	let late = 0;

	const show = (upload) => {
		const before = now;
		now = upload;
		node.classList.remove("unknown");
		document.title = `${upload.filename} · rowmill`;
		say(node, {
			filename: upload.filename,
			about: `${bytes(upload.bytes)} · topic ${upload.topic} · received ${moment(new Date(upload.timings.received_at))}`,
		});
		status(part(node, "status"), upload);
		kin(part(node, "kin"), upload);
		if (upload.problem) problem(part(node, "problem"), upload.problem);
		else part(node, "problem").replaceChildren();
		notice(part(node, "notice"), upload);
		actions(part(node, "acts"), upload, { show, signal, node });
		progress(node, bars, upload, course);
		drawn.tell(course);
		course.save();
		bad.tell(upload.counts);
		table.tell(upload);
		files.tell(["ended", "cancelled"].includes(upload.status));
		speak(upload, before);
		// The numbers know the end a moment before its time is recorded.
		if (upload.status === "ended" && !upload.timings.ended_at && before?.status !== "ended") late = 5;
	};
	// While nothing comes, time goes on all the same: the rate falls.
	const tick = setInterval(() => {
		if (!now || document.hidden) return;
		if (late > 0 && !now.timings.ended_at) {
			late -= 1;
			ask("GET", path, { signal }).then(show, () => {});
		}
		if (OVER.includes(now.status)) return;
		progress(node, bars, now, course);
		drawn.tell(course);
	}, 1000);
	signal.addEventListener("abort", () => clearInterval(tick));

	follow({
		signal,
		look: async () => show(await ask("GET", path, { signal })),
		streams: () => {
			if (!OVER.includes(now.status)) {
				return [`uploads/${id}/events`, { progress: show, end: (upload) => { show(upload); return "over"; } }];
			}
			// It may come to life again, by a retry for instance: then it is looked at anew.
			const changed = (one) => one.id === id && (one.status !== now.status || one.counts.dead !== now.counts.dead);
			return ["events", { uploads: ({ data }) => (data.some(changed) ? "over" : undefined) }];
		},
		fail: (fault) => fault.status === 401 || problem(part(node, "problem"), fault, () => run(node, id, signal)),
	});
}

/** What it corrects, and what corrects it. */
function kin(place, { corrects, corrected_by: by = [] }) {
	if (place.dataset.of === `${corrects} ${by}`) return;
	place.dataset.of = `${corrects} ${by}`;
	const link = (text, id) => make("a", { href: fill("#/uploads/{id}", { id }) }, text);
	place.replaceChildren(...(corrects ? ["Corrects ", link("an upload", corrects), " "] : []), ...by.flatMap((id, at) => [at ? ", " : "Corrected by ", link("a later one", id)]));
}

function progress(node, bars, upload, course) {
	const { counts, timings } = upload;
	const over = ended(counts);
	const reading = upload.status === "ingesting";
	const begun = Date.parse(timings.published_at ?? timings.received_at) / 1000;
	if (timings.ended_at) course.end(over, begun, Date.parse(timings.ended_at) / 1000);
	else course.add(over, begun);
	// Before this page has seen enough, what the server has seen.
	const speed = OVER.includes(upload.status) ? null : course.now() ?? upload.pace?.per_second ?? null;

	say(node, {
		reading: reading ? `Reading the file: ${count(counts.read, "row")} so far` : `${count(counts.read, "row")} read`,
		readSoft: [counts.blank && `${number(counts.blank)} blank passed over`, counts.warnings && count(counts.warnings, "warning")].filter(Boolean).join(" · "),
		working: `${number(over)} of ${count(counts.copies, "message")} processed`,
		workSoft: left(upload, over, speed),
		rate: speed === null ? average(upload, over) : `${rate(speed)} now`,
	});
	const read = reading ? null : 100;
	tell(bars.read, upload.status === "failed" ? [["dead", 1]] : [["done", counts.published], ["odd", counts.rejected], ["gone", counts.unrouted + counts.duplicates]],
		read, reading ? `${count(counts.read, "row")} read so far` : "read to the end");
	const far = percent(over, counts.copies);
	tell(bars.work, partsOf(counts), far, `${far} %: ${number(over)} of ${number(counts.copies)}, ${number(counts.dead)} failed`);
	tiles(part(node, "tiles"), [
		["Read", number(counts.read)],
		["Published", number(counts.published)],
		["Rejected", number(counts.rejected), counts.rejected ? "odd" : ""],
		["Waiting", number(counts.waiting), "wait"],
		["In flight", number(counts.in_flight), "busy"],
		["Done", number(counts.done), "done"],
		["Dead", number(counts.dead), counts.dead ? "dead" : ""],
		...(counts.expired ? [["Expired", number(counts.expired), "gone"]] : []),
		...(counts.cancelled ? [["Cancelled", number(counts.cancelled), "gone"]] : []),
		...(counts.duplicates ? [["Duplicates", number(counts.duplicates), "gone"]] : []),
		...(counts.unrouted ? [["No queue takes", number(counts.unrouted), "gone"]] : []),
	]);
}

/** How long it may still take. Nobody knows before the rows are counted, and that is said. */
function left({ status, counts, timings, paused }, over, speed) {
	if (status === "ended" && timings.ended_at) {
		return `Took ${lasting((Date.parse(timings.ended_at) - Date.parse(timings.received_at)) / 1000)}`;
	}
	if (OVER.includes(status) || counts.copies === over) return "";
	if (paused) return counts.in_flight ? "Paused: what workers have in hands goes on" : "Paused: nothing is handed out";
	if (status === "ingesting") {
		return speed ? `An estimate, rows are still being counted: ${lasting((counts.copies - over) / speed)} or more` : "Rows are still being counted";
	}
	if (speed === null) return "";
	if (speed === 0) return counts.in_flight ? "Nothing has ended lately" : "No worker is taking messages";
	return `About ${lasting((counts.copies - over) / speed)} left`;
}

/** Why it is paused, if somebody wants to know; and whether its end was told. */
function notice(place, { paused, webhook }) {
	const lines = [];
	if (paused) lines.push(paused.reason ? `Paused by itself: ${paused.reason}. Look at the failures, then resume or cancel it.` : `Paused ${moment(new Date(paused.at))}.`);
	if (webhook?.status === "delivered") lines.push(`Its end was told to ${webhook.host}.`);
	if (webhook?.status === "given_up") lines.push(`Its end could not be told to ${webhook.host}: ${webhook.last_error}.`);
	if (webhook?.status === "waiting" && webhook.last_error) lines.push(`Its end could not be told to ${webhook.host} yet: ${webhook.last_error}.`);
	place.hidden = lines.length === 0;
	write(place, lines.join(" "));
}

function average({ timings }, over) {
	if (!timings.ended_at || !timings.published_at || over === 0) return "";
	const seconds = (Date.parse(timings.ended_at) - Date.parse(timings.received_at)) / 1000;
	return seconds > 0 ? `${rate(over / seconds)} on average` : "";
}

function speak(upload, before) {
	const { counts, filename, status } = upload;
	const over = ended(counts);
	if (before && before.status !== status && OVER.includes(status)) {
		return announce(`${filename} is over: ${number(counts.done)} done, ${number(counts.dead)} failed, ${number(counts.rejected)} rejected.`);
	}
	if (before && !OVER.includes(status) && over !== ended(before.counts)) {
		report(`${filename}: ${percent(over, counts.copies)} % processed, ${number(counts.dead)} failed.`);
	}
}

/** What the server describes, the key allows and the state makes sense of. */
const ACTS = [
	{ text: "Pause", method: "POST", path: "/uploads/{id}/pause", fits: ({ status, paused }) => !paused && !OVER.includes(status) },
	{ text: "Resume", method: "POST", path: "/uploads/{id}/resume", fits: ({ status, paused }) => paused && !OVER.includes(status) },
	{ text: "Retry the failed", method: "POST", path: "/uploads/{id}/retry", fits: ({ counts }) => counts.dead > 0 },
	{
		text: "Cancel", method: "POST", path: "/uploads/{id}/cancel", fits: ({ status }) => !OVER.includes(status),
		ask: ({ filename }) => ({ title: `Cancel ${filename}?`, text: "What no worker has yet is withdrawn. What workers have in hands goes on.", yes: "Cancel the upload" }),
	},
	{
		text: "Delete", method: "DELETE", path: "/uploads/{id}", fits: ({ status }) => OVER.includes(status), leaves: true,
		ask: ({ filename }) => ({ title: `Delete ${filename}?`, text: "Its file, its rows and its results go with it.", yes: "Delete the upload" }),
	},
];

function actions(place, upload, { show, signal, node }) {
	const offered = ACTS.filter((act) => can(act.method, act.path) && act.fits(upload));
	keep(place, offered, {
		id: ({ text }) => text,
		born: (act) => button(act.text, async () => {
			if (act.ask && !(await question(act.ask(upload)))) return;
			try {
				const answer = await ask(act.method, fill(act.path, { id: upload.id }), { signal });
				announce(`${act.text}: done.`);
				if (act.leaves) location.hash = "#/";
				else show(answer?.counts ? answer : await ask("GET", fill("/uploads/{id}", { id: upload.id }), { signal }));
			} catch (fault) {
				if (!signal.aborted) problem(part(node, "problem"), fault);
			}
		}),
		tell: () => {},
	});
}

/*
 * The files that are being sent, wherever else one looks: each with its progress, what the server
 * said of it, and what can be done about it.
 */

import { button, copy, keep, make, part, say } from "./dom.js";
import { bytes, lasting, percent } from "./format.js";
import { announce } from "./spoken.js";

let shown = null;
const files = [];

/** The tray, to be put where there is room for it. */
export function tray() {
	if (!shown) {
		shown = copy("tray");
		shown.querySelector('[data-do="clear"]').addEventListener("click", () => {
			for (let at = files.length; at-- > 0;) if (files[at].over) files.splice(at, 1);
			draw();
		});
	}
	return shown;
}

/** Puts a file into the tray; `change` it as it goes. */
export function add(file) {
	const entry = { id: crypto.randomUUID?.() ?? String(Math.random()), file, sent: 0, state: "waiting", over: false, acts: [] };
	files.push(entry);
	draw();
	return entry;
}

/** Whether something would be broken off if the page were left. */
export const busy = () => files.some((entry) => entry.state === "sending" || entry.state === "waiting");

/** Says what has become of a file. */
export function change(entry, news) {
	const before = entry.state;
	Object.assign(entry, news);
	if (entry.state !== before && entry.over) announce(`${entry.file.name}: ${words(entry)}`);
	draw();
}

export function drop(entry) {
	files.splice(files.indexOf(entry), 1);
	draw();
}

function words(entry) {
	switch (entry.state) {
		case "waiting": return "Waits for its turn";
		case "sending": {
			const done = percent(entry.sent, entry.total || entry.file.size);
			const speed = entry.speed ? `, ${bytes(entry.speed)}/s, ${lasting((entry.total - entry.sent) / entry.speed)} left` : "";
			return `Sending: ${done} %${speed}`;
		}
		case "checking": return "Received; being checked";
		case "taken": return entry.before ? "Sent before, and not again" : "Taken";
		case "refused": return entry.fault.title;
		default: return entry.state;
	}
}

function draw() {
	const place = tray();
	place.hidden = files.length === 0;
	place.classList.toggle("busy", files.some((entry) => !entry.over));
	place.querySelector('[data-do="clear"]').hidden = !files.some((entry) => entry.over);
	keep(part(place, "files"), files, { id: (entry) => entry.id, born, tell });
}

function born(entry) {
	const node = copy("file");
	say(node, { name: entry.file.name, size: bytes(entry.file.size) });
	node.querySelector("progress").setAttribute("aria-label", `Sending ${entry.file.name}`);
	return node;
}

function tell(node, entry) {
	node.dataset.state = entry.state;
	const progress = node.querySelector("progress");
	progress.hidden = entry.state === "taken" || entry.state === "refused" || entry.state === "looked";
	if (entry.state === "checking") progress.removeAttribute("value");
	else progress.value = entry.total ? entry.sent / entry.total : 0;
	say(node, { state: entry.state === "looked" ? "Looked at; nothing is published yet" : words(entry) });
	const more = part(node, "file-more");
	if (node.told === entry.state) return;
	node.told = entry.state;
	part(node, "file-acts").replaceChildren(...entry.acts.map(([text, act, look = "plain"]) =>
		typeof act === "string"
			? make("a", { href: act, "aria-label": `${text} ${entry.file.name}` }, text)
			: button(text, act, { class: look, "aria-label": `${text} ${entry.file.name}` })));
	more.replaceChildren();
	if (entry.state === "refused") more.append(refusal(entry.fault));
	if (entry.preview) more.append(entry.preview);
}

/** Where and why a file was refused. */
function refusal({ detail, problem = {} }) {
	const { sheet, column, row } = problem;
	const where = row ? `${sheet ? `${sheet}!` : ""}${column ?? ""}${row}` : null;
	const place = make("p", { class: "bad" });
	if (where && !detail.includes(where)) place.append(make("code", {}, where), " ");
	place.append(detail);
	return place;
}

addEventListener("beforeunload", (event) => {
	if (busy()) event.preventDefault();
});

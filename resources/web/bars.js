/* Bars of several parts, one width a part. */

import { keep, make, write } from "./dom.js";

/** A bar that a screen reader finds as a progress bar of this name. */
export function bar(label) {
	return make("div", { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 });
}

/** Tells a bar its parts, `[kind, n]`, how far it is in percent, and that in words. */
export function tell(bar, parts, percent, words) {
	keep(bar, parts.filter(([, n]) => n > 0), {
		id: ([kind]) => kind,
		born: ([kind]) => make("span", { "data-kind": kind }),
		// Set as a property: the policy of the page allows no styles in attributes.
		tell: (span, [, n]) => { span.style.flexGrow = n; },
	});
	if (percent === null) bar.removeAttribute("aria-valuenow");
	else bar.setAttribute("aria-valuenow", percent);
	bar.setAttribute("aria-valuetext", words);
	bar.classList.toggle("moving", percent === null);
}

/** The parts of an upload's messages, in the order in which they end. */
export const partsOf = (counts) => [
	["done", counts.done],
	["dead", counts.dead],
	["gone", counts.expired + counts.cancelled],
	["busy", counts.in_flight],
	["wait", counts.waiting],
];

/** How many of an upload's messages have ended. */
export const ended = (counts) => counts.done + counts.dead + counts.expired + counts.cancelled;

const words = {
	ingesting: ["Reading", "busy"],
	published: ["Working", "busy"],
	paused: ["Paused", "wait"],
	ended: ["Done", "done"],
	failed: ["Refused", "dead"],
	cancelled: ["Cancelled", "gone"],
};

/** Tells a pill how an upload is. */
export function status(pill, { status, counts, paused }) {
	let [word, kind] = words[status] ?? [status, "wait"];
	if (status === "ended" && counts.dead + counts.rejected > 0) [word, kind] = ["Done, with failures", "odd"];
	if (status === "published" && counts.in_flight === 0 && ended(counts) === 0) [word, kind] = ["Waiting for workers", "wait"];
	if (paused && ["ingesting", "published"].includes(status)) [word, kind] = words.paused;
	write(pill, word);
	pill.dataset.kind = kind;
}

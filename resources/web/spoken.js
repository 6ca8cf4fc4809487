/* What a screen reader is told of progress: now and then, not at every change. */

import { write } from "./dom.js";

/** The shortest time between two reports, in milliseconds. */
const EVERY = 15_000;

let last = 0;

/** Says how far something is, unless that was said a moment ago. */
export function report(text) {
	if (Date.now() - last >= EVERY) announce(text);
}

/** Says what has happened, at once. */
export function announce(text) {
	last = Date.now();
	write(document.getElementById("spoken"), text);
}

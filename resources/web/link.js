/*
 * The connection to the server: one stream of events for the view that is shown, begun again with
 * growing pauses when it breaks, and closed while nobody looks (a browser has six connections to a
 * server, and tabs share them). What is shown stays, marked as old, until the server answers again.
 */

import { ask } from "./api.js";
import { make, say, write } from "./dom.js";
import { time } from "./format.js";

/** The first pause, and the longest, in milliseconds. */
const FIRST = 500;
const LONGEST = 15_000;
/** A stream that held for so long was a good one: pauses begin anew. */
const GOOD = 5_000;

let heard = null;
let knock = () => {};

/** Shows how the connection is: `waiting`, `live` or `away`, and until when it waits. */
function show(state, next) {
	const chip = document.getElementById("link");
	const away = document.getElementById("away");
	document.body.classList.toggle("old", state === "away");
	chip.dataset.state = state;
	say(chip, { link: { waiting: "Connecting", live: "Live", away: "Offline" }[state] });
	if (state !== "away") {
		if (state === "live") heard = new Date();
		away.replaceChildren();
		return;
	}
	if (!away.firstChild) {
		away.append(make("p", {}, make("strong", {}, "Offline. "), make("span", {})),
			make("button", { type: "button", onclick: () => knock() }, "Try now"));
	}
	// Not the seconds that are left: a screen reader would be told of each.
	const old = heard ? `Numbers are as of ${time(heard)}.` : "Nothing has come from the server yet.";
	write(away.querySelector("span"), `${old} ${next ? "Trying again by itself." : ""}`);
}

/** Whether somebody looks. */
const seen = () => new Promise((resolve) => {
	if (!document.hidden) return resolve();
	const look = () => {
		if (document.hidden) return;
		document.removeEventListener("visibilitychange", look);
		resolve();
	};
	document.addEventListener("visibilitychange", look);
});

/** Waits, until it is knocked at, the network comes back, or `signal` fires. */
const pause = (milliseconds, signal) => new Promise((resolve) => {
	const timer = setTimeout(over, milliseconds);
	function over() {
		clearTimeout(timer);
		removeEventListener("online", over);
		signal.removeEventListener("abort", over);
		resolve();
	}
	knock = over;
	addEventListener("online", over);
	signal.addEventListener("abort", over);
});

/** One stream until it breaks (false), says that it is over or nobody looks any more (true). */
const stream = (path, events, signal) => new Promise((resolve) => {
	const source = new EventSource(path);
	const end = (well) => {
		source.close();
		document.removeEventListener("visibilitychange", hidden);
		removeEventListener("offline", broken);
		signal.removeEventListener("abort", gone);
		resolve(well);
	};
	const hidden = () => document.hidden && end(true);
	const broken = () => end(false);
	const gone = () => end(true);
	source.onerror = broken;
	source.onopen = () => show("live");
	for (const [name, told] of Object.entries(events)) {
		source.addEventListener(name, (event) => {
			show("live");
			if (told(JSON.parse(event.data)) === "over") end(true);
		});
	}
	document.addEventListener("visibilitychange", hidden);
	addEventListener("offline", broken);
	signal.addEventListener("abort", gone);
});

/**
 * Shows what is there and what becomes of it, until `signal` fires. `look` fetches and shows it; its
 * refusals end all and are passed to `fail`. `streams` is asked each time for a path and what to do
 * with each of its events; one that answers "over" ends the stream, and `look` comes next.
 */
export async function follow({ look, streams, fail, signal }) {
	let wait = FIRST;
	while (!signal.aborted) {
		await seen();
		try {
			await look();
			show("live");
		} catch (fault) {
			if (signal.aborted) return;
			// A server that is busy or starting will say something else in a moment.
			if (fault.status !== 0 && fault.status < 500) return fail(fault);
			show("away", true);
			await pause(wait * (0.75 + Math.random() / 2), signal);
			wait = Math.min(LONGEST, wait * 2);
			continue;
		}
		const [path, events] = streams();
		const begun = Date.now();
		const well = await stream(path, events, signal);
		if (signal.aborted) return;
		if (Date.now() - begun > GOOD) wait = FIRST;
		if (well) continue;
		// A server that stops closes its streams: what it says next decides what is shown.
		try {
			await ask("GET", "session", { signal });
		} catch (fault) {
			if (fault.status === 401 || signal.aborted) return;
			show("away", true);
		}
		await pause(wait, signal);
		wait = Math.min(LONGEST, wait * 2);
	}
}

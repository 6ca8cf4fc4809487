/* All queues: how each stands, as it changes. */

import { ask, fill } from "./api.js";
import { copy, empty, keep, loading, part, problem, say, tiles, write } from "./dom.js";
import { lasting, number, rate } from "./format.js";
import { follow } from "./link.js";
import { workers } from "./workers.js";

export function queuesView() {
	const node = copy("queues");
	return { node, title: "Queues", run: (signal) => run(node, signal) };
}

function run(node, signal) {
	const state = part(node, "state");
	const list = part(node, "list");
	const draw = (queues) => {
		if (queues.length > 0) state.replaceChildren();
		else empty(state, "No queues", "Queues are made over the API.");
		keep(list, queues, { id: ({ id }) => id, born, tell: card });
	};
	workers(node, signal);
	loading(state);
	follow({
		signal,
		// The stream tells everything at once; the list says who may look, and what to say when there is none.
		look: async () => {
			const { data } = await ask("GET", "queues?limit=1", { signal });
			if (data.length === 0) draw([]);
		},
		streams: () => ["events", { queues: ({ data }) => draw(data) }],
		fail: (fault) => fault.status === 401 || problem(state, fault, () => run(node, signal)),
	});
}

function born({ id }) {
	const node = copy("queue-card");
	const link = part(node, "link");
	link.href = fill("#/queues/{id}", { id });
	link.textContent = id;
	return node;
}

function card(node, queue) {
	tiles(part(node, "tiles"), numbers(queue));
	standing(part(node, "state"), queue);
	say(node, { rates: rates(queue) });
}

/** A queue's numbers, as tiles. */
export const numbers = ({ ready, delayed, held, in_flight, dead, oldest_seconds }) => [
	["Waiting", number(ready), "wait"],
	["In flight", number(in_flight), "busy"],
	["Dead", number(dead), dead ? "dead" : ""],
	["Oldest", oldest_seconds === null ? "–" : lasting(oldest_seconds)],
	...(delayed ? [["Delayed", number(delayed), "wait"]] : []),
	...(held ? [["Held", number(held), "wait"]] : []),
];

/** A queue in a word. */
export function standing(pill, { ready, in_flight, ended_per_second }) {
	const [word, kind] = in_flight > 0 || ended_per_second > 0 ? ["Working", "busy"] : ready > 0 ? ["Nobody takes", "odd"] : ["Idle", "wait"];
	write(pill, word);
	pill.dataset.kind = kind;
}

/** A queue's rates in words. */
export const rates = ({ published_per_second, ended_per_second }) =>
	`Over the last minute: ${rate(published_per_second)} in, ${rate(ended_per_second)} out`;

/* One queue: how it stands, what waits in it, and what is done with all of that. */

import { ask, can, fill } from "./api.js";
import { question } from "./ask.js";
import { button, copy, keep, loading, make, part, problem, say, tiles } from "./dom.js";
import { ago, count, lasting, number } from "./format.js";
import { follow } from "./link.js";
import { numbers, rates, standing } from "./queues.js";
import { values } from "./rows.js";
import { announce } from "./spoken.js";
import { workers } from "./workers.js";

/** Messages that are looked at. */
const PEEKED = 10;

export function queueView(id) {
	const node = copy("queue");
	say(node, { id });
	return { node, title: id, run: (signal) => run(node, id, signal) };
}

function run(node, id, signal) {
	const path = fill("/queues/{id}", { id });
	const look = () => peek(part(node, "messages"), path, signal);
	const peeks = can("GET", "/queues/{queue}/messages/peek");
	part(node, "peek").hidden = !peeks;
	node.querySelector('[data-do="peek"]').onclick = look;
	workers(node, signal, id);
	let terms = null;
	let others = [];

	loading(part(node, "problem"));
	const show = (queue) => {
		if (node.classList.contains("unknown")) part(node, "problem").replaceChildren();
		node.classList.remove("unknown");
		tiles(part(node, "tiles"), numbers(queue));
		standing(part(node, "state"), queue);
		say(node, { rates: rates(queue) });
		actions(part(node, "acts"), { queue, terms, others, signal, node, look: () => peeks && look() });
	};
	follow({
		signal,
		// What it is; the stream tells how it stands, at once and from then on.
		look: async () => {
			const [own, all] = await Promise.all([ask("GET", path, { signal }), ask("GET", "queues?limit=1000", { signal })]);
			terms = own;
			others = all.data.filter((other) => other.id !== id);
			part(node, "terms").replaceChildren(...termsOf(own).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
			if (peeks && !part(node, "messages").firstChild) look();
		},
		streams: () => ["events", {
			queues: ({ data }) => {
				const queue = data.find((one) => one.id === id);
				// One that is not told of was deleted: the look says so.
				return queue ? show(queue) : "over";
			},
		}],
		fail: (fault) => fault.status === 401 || problem(part(node, "problem"), fault, () => run(node, id, signal)),
	});
}

function termsOf(queue) {
	const filters = Object.entries(queue.message_filters ?? {}).map(([name, any]) => `${name}: ${any.join(" or ")}`);
	const link = (id) => make("a", { href: fill("#/queues/{id}", { id }) }, id);
	return [
		["Topic", queue.topic_id ?? "none: messages come by redrive, or as dead ones"],
		["Takes", filters.length > 0 ? filters.join("; ") : "every message"],
		["Dead queue", queue.dead_queue_id ? link(queue.dead_queue_id) : "none: a message is tried until it expires"],
		["Ack deadline", lasting(queue.ack_deadline_seconds)],
		["Deliveries at most", queue.message_max_deliveries ? number(queue.message_max_deliveries) : "any number"],
		["Retries", `after ${queue.retry_backoff.first_seconds} s, then ${queue.retry_backoff.factor} times as long, ${lasting(queue.retry_backoff.most_seconds)} at most`],
		["Retention", queue.message_retention_seconds ? lasting(queue.message_retention_seconds) : "for ever"],
		["Delay", queue.delivery_delay_seconds ? lasting(queue.delivery_delay_seconds) : "none"],
		["Outcomes", queue.record_outcomes ? "kept" : "kept of rows of uploads only"],
	];
}

async function peek(place, path, signal) {
	if (!place.firstChild) loading(place);
	try {
		const { data } = await ask("GET", `${path}/messages/peek?limit=${PEEKED}`, { signal });
		if (data.length === 0) return place.replaceChildren(make("p", { class: "soft" }, "Nothing waits."));
		const list = make("ul", { class: "messages" });
		keep(list, data, { id: ({ id }) => id, born: message, tell: () => {} });
		place.replaceChildren(list);
	} catch (fault) {
		if (!signal.aborted && fault.status !== 401) problem(place, fault);
	}
}

function message({ data, filename, sheet, row, delivery_attempts, created_at, reason }) {
	const where = row === null ? "Message" : `${filename}, ${sheet ? `${sheet}!` : "row "}${row}`;
	const about = [`published ${ago(new Date(created_at))}`, delivery_attempts > 0 && `${count(delivery_attempts, "delivery", "deliveries")} so far`];
	return make("li", {},
		make("strong", { class: "name" }, where),
		make("span", { class: "soft" }, about.filter(Boolean).join(" · ")),
		reason ? make("span", { class: "bad" }, reason) : null,
		values(data));
}

function actions(place, context) {
	const { queue, terms, others } = context;
	const redrives = can("PUT", "/queues/{queue}/redrive");
	const dead = terms?.dead_queue_id;
	const offered = [
		...(redrives && dead && queue.dead > 0 ? [{ text: `Retry the dead`, act: retry }] : []),
		...(redrives && others.length > 0 && queue.ready > 0 ? [{ text: "Redrive", act: redrive }] : []),
		...(can("PUT", "/queues/{queue}/purge") ? [{ text: "Purge", act: purge }] : []),
	];
	// A button stays the same while it is offered; what it acts on is what is known when it is pressed.
	place.context = context;
	keep(place, offered, {
		id: ({ text }) => text,
		born: ({ text, act }) => button(text, () => attempt(act, place.context)),
		tell: () => {},
	});
}

async function attempt(act, context) {
	const { signal, node } = context;
	try {
		const said = await act(context);
		if (!said) return;
		part(node, "problem").replaceChildren();
		announce(said);
		context.look();
	} catch (fault) {
		if (!signal.aborted) problem(part(node, "problem"), fault);
	}
}

async function retry({ queue, terms, signal }) {
	const from = terms.dead_queue_id;
	const sure = await question({ title: "Retry the dead?", text: `What ${from} holds (${count(queue.dead, "message")}) comes back to ${queue.id} for a new life.`, yes: "Retry" });
	if (!sure) return null;
	await ask("PUT", fill("/queues/{from}/redrive", { from }), { body: { destination_queue_id: queue.id }, signal });
	return `The dead were moved back to ${queue.id}.`;
}

async function redrive({ queue, others, signal }) {
	// Most often it is a dead queue that is emptied, into the queue that it belongs to.
	const list = [...others].sort((a, b) => (b.dead_queue_id === queue.id) - (a.dead_queue_id === queue.id)).map(({ id }) => id);
	const to = await question({
		title: `Redrive ${queue.id}?`,
		text: "What waits in it moves to another queue, for a new life there.",
		yes: "Redrive",
		choices: { label: "To the queue", list },
	});
	if (!to) return null;
	await ask("PUT", fill("/queues/{id}/redrive", queue), { body: { destination_queue_id: to }, signal });
	return `What waited in ${queue.id} was moved to ${to}.`;
}

async function purge({ queue, signal }) {
	const sure = await question({
		title: `Purge ${queue.id}?`,
		text: `Everything that waits in it is cancelled: ${count(queue.ready + queue.delayed, "message")} now. That cannot be taken back.`,
		yes: "Purge the queue",
		typed: queue.id,
	});
	if (!sure) return null;
	await ask("PUT", fill("/queues/{id}/purge", queue), { signal });
	return `What waited in ${queue.id} was cancelled.`;
}

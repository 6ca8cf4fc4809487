/*
 * What ends in a second, over time. The numbers are the server's; their times are when they came
 * here. What was before this page looked is drawn as what is known of it: an average, dashed. Kept
 * for the tab, so that a reload does not forget it.
 */

import { lasting, rate } from "./format.js";

/** Points at most; then every other goes, and they stand twice as far apart. */
const POINTS = 160;
/** What the rate of now is taken over, in seconds. */
const LATELY = 8;
const WIDE = 600;
const HIGH = 140;
const SVG = "http://www.w3.org/2000/svg";

/** The course of one upload: pairs of a time in seconds and how many had ended. */
export class Course {
	constructor(id) {
		this.key = `course-${id}`;
		this.step = 1;
		this.points = [];
		this.lately = [];
		try {
			Object.assign(this, JSON.parse(sessionStorage.getItem(this.key)));
		} catch { /* without storage it begins anew */ }
	}

	/** Takes in that so many had ended; `begun` is when the first could. */
	add(total, begun, now = Date.now() / 1000) {
		this.start(total, begun, now);
		this.lately.push([now, total]);
		while (this.lately.length > 2 && now - this.lately[1][0] > LATELY) this.lately.shift();
		const last = this.points.at(-1);
		if (last && now - last[0] < this.step) return;
		this.points.push([now, total]);
		if (this.points.length > POINTS) {
			this.points = this.points.filter((point, at) => at % 2 === 0 || point[2]);
			this.step *= 2;
		}
	}

	/** Takes in that all had ended at a time, which nobody may have watched. */
	end(total, begun, at) {
		this.start(total, begun, at);
		const last = this.points.at(-1);
		if (last && last[1] < total) this.points.push([Math.max(at, last[0] + 0.1), total]);
	}

	start(total, begun, now) {
		if (this.points.length === 0 && begun < now && total > 0) this.points.push([begun, 0, "before"]);
	}

	/** Remembers it for a reload. */
	save() {
		const { step, points } = this;
		try {
			sessionStorage.setItem(this.key, JSON.stringify({ step, points }));
		} catch { /* full, or not allowed: it is a comfort */ }
	}

	/** What ended in a second just now; nothing while too little is known. */
	now() {
		if (this.lately.length < 2) return null;
		const [from, to] = [this.lately[0], this.lately.at(-1)];
		const seconds = to[0] - from[0];
		return seconds < 0.9 ? null : Math.max(0, to[1] - from[1]) / seconds;
	}

	/** Stretches: from when, to when, how many in a second, and whether somebody watched. */
	stretches() {
		return this.points.slice(1).map((to, at) => {
			const from = this.points[at];
			const seconds = to[0] - from[0];
			return { from: from[0], to: to[0], rate: Math.max(0, to[1] - from[1]) / seconds, watched: !from[2] && seconds < 5 * this.step + 5 };
		});
	}
}

/** A chart, and what tells it a course. */
export function chart() {
	const figure = document.createElement("figure");
	figure.className = "chart";
	const most = document.createElement("span");
	most.className = "most";
	most.setAttribute("aria-hidden", "true");
	const svg = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" });
	const lines = [0.25, 0.5, 0.75].map((at) => draw("line", { x1: 0, x2: WIDE, y1: HIGH * at, y2: HIGH * at, class: "grid" }));
	const area = draw("path", { class: "area" });
	const line = draw("path", { class: "line" });
	const guess = draw("path", { class: "line guess" });
	svg.append(...lines, area, guess, line);
	const caption = document.createElement("figcaption");
	figure.append(most, svg, caption);
	return {
		figure,
		tell(course) {
			const stretches = course.stretches();
			if (stretches.length === 0) {
				caption.textContent = "The chart begins when the first messages end.";
				most.textContent = "";
				for (const path of [area, line, guess]) path.setAttribute("d", "");
				return;
			}
			const [first, last] = [stretches[0].from, stretches.at(-1).to];
			const top = nice(Math.max(...stretches.map(({ rate }) => rate)));
			const x = (time) => ((time - first) / Math.max(1, last - first)) * WIDE;
			const y = (rate) => HIGH - (rate / top) * (HIGH - 6) - 1;
			// A rate holds for its whole stretch: steps, not slopes.
			const ways = { area: "", line: "", guess: "" };
			let way = "";
			for (const { from, to, rate, watched } of stretches) {
				const begins = watched ? "line" : "guess";
				const step = `${n(y(rate))}H${n(x(to))}`;
				ways[begins] += `${begins === way ? "V" : `M${n(x(from))} `}${step}`;
				if (watched) ways.area += `M${n(x(from))} ${HIGH}V${step}V${HIGH}Z`;
				way = begins;
			}
			area.setAttribute("d", ways.area);
			line.setAttribute("d", ways.line);
			guess.setAttribute("d", ways.guess);
			most.textContent = rate(top);
			const average = stretches.some(({ watched }) => !watched) ? "; dashed: the average of a time in which this page was not looking" : "";
			caption.textContent = `Messages that ended in a second, over ${lasting(last - first)}. At most ${rate(Math.max(...stretches.map(({ rate }) => rate)))}${average}.`;
		},
	};
}

const n = (number) => number.toFixed(1);

/** The next round number above. */
function nice(most) {
	if (most <= 0) return 1;
	const power = 10 ** Math.floor(Math.log10(most));
	return [1, 2, 5, 10].find((times) => times * power >= most) * power;
}

function draw(name, attributes) {
	const element = document.createElementNS(SVG, name);
	for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
	return element;
}

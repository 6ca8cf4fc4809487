/* Numbers, sizes and times as a person reads them. */

import { write } from "./dom.js";

const whole = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const since = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export const number = (n) => whole.format(n ?? 0);

/** `3 rows`, `1 row`. */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** Per second: tenths while they say something. */
export const rate = (n) => `${n < 100 ? tenths.format(n) : whole.format(Math.round(n))}/s`;

export function bytes(n) {
	const units = ["B", "kB", "MB", "GB", "TB"];
	let at = 0;
	for (; n >= 1000 && at < units.length - 1; at++) n /= 1000;
	return `${at === 0 ? whole.format(n) : tenths.format(n)} ${units[at]}`;
}

/** Seconds as at most two units. */
export function lasting(seconds) {
	const s = Math.max(0, Math.round(seconds));
	if (s < 60) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
	if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
	return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const time = (date) => clock.format(date);
export const moment = (date) => day.format(date);

/** How long ago, roughly; the day when that is long. */
export function ago(date) {
	const seconds = (Date.now() - date) / 1000;
	if (seconds < 45) return "just now";
	if (seconds < 3600) return since.format(-Math.round(seconds / 60), "minute");
	if (seconds < 86400) return since.format(-Math.round(seconds / 3600), "hour");
	return day.format(date);
}

/** A part of a whole in percent, never 100 before it is all. */
export function percent(part, all) {
	if (!all) return 0;
	return part >= all ? 100 : Math.min(99, Math.floor((100 * part) / all));
}

/** A time element's words and value. */
export function when(element, text) {
	const date = new Date(text);
	element.dateTime = text;
	element.title = moment(date);
	write(element, ago(date));
}

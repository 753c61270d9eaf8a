"use strict";
// The desk's page: cars, rides, questions, alarms and closed places beside the live map. Nothing comes from outside.
const byId = id => document.getElementById(id);
const failed = new Set(["REJECTED", "CANCELLED", "ABORTED", "NO_SHOW", "EXPIRED"]);
const isOver = state => failed.has(state) || state === "COMPLETED";
const words = s => (s.charAt(0) + s.slice(1).toLowerCase()).replaceAll("_", " ");
const STALE_S = 5, CLOSED_RADIUS = 25, CLOSED_MINUTES = 10;
let town = { lanes: [], places: [] }, news = { vehicles: [], orders: [], questions: [], events: [], areas: [] };
let chosen = "", picking = null, closing = false;

function make(tag, cls, ...children) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...children.filter(c => c !== undefined && c !== null));
  return e;
}
const age = s => s === null ? "never" : s < 2 ? "now" : s < 90 ? `${s.toFixed(0)} s ago` : `${(s / 60).toFixed(0)} min ago`;
function hint(text, passing) {
  byId("hint").textContent = text;
  if (passing) setTimeout(() => { if (byId("hint").textContent === text) hint(""); }, 4000);
}
async function send(path, body) {
  try { return await (await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json(); }
  catch (e) { return { error: "The desk does not answer." }; }
}

// ------------------------------------------------------------ clicks on the map
function choose(vehicle, go) {
  chosen = chosen === vehicle ? "" : vehicle;
  const v = news.vehicles.find(x => x.vehicle === chosen);
  if (go && v && v.state && v.state.position) goTo(v.state.position);
  show();
}
function mode(next) {
  picking = next === "order" ? {} : null; closing = next === "close";
  byId("stage").classList.toggle("pick", next !== "");
  byId("order").classList.toggle("on", next === "order"); byId("close").classList.toggle("on", next === "close");
  hint(next === "order" ? "Click where the rider waits." : next === "close" ? "Click the place that no car shall drive into." : "");
  show();
}
async function click(lat, lon, vehicle) {
  if (closing) {
    const area = { area_id: `closed-${Date.now()}`, lat, lon, radius: CLOSED_RADIUS, minutes: CLOSED_MINUTES };
    mode("");
    const answer = await send("/areas", area);
    hint(answer.error || `Closed for ${CLOSED_MINUTES} min: ${answer.asked} cars are told.`, true); refresh(); return;
  }
  if (!picking) { if (vehicle || chosen) choose(vehicle || chosen); return; }
  const at = snap(town, lat, lon);
  if (!at) { hint("That is not on a road. Click nearer to a lane."); return; }
  if (!picking.pickup) { picking.pickup = at; hint("Now click the destination."); show(); return; }
  picking.dropoff = at; show();
  const place = p => ({ lat: p.lat, lon: p.lon, heading_deg: p.heading_deg });
  const answer = await send("/orders", { pickup: place(picking.pickup), dropoff: place(picking.dropoff) });
  mode("");
  hint(answer.error ? answer.error : `${answer.order_id} is ordered.`, true); refresh();
}
byId("in").onclick = () => map && map.zoomIn();
byId("out").onclick = () => map && map.zoomOut();
byId("fit").onclick = () => fitMap(town, news.vehicles, true);
byId("order").onclick = () => mode(picking ? "" : "order");
byId("close").onclick = () => mode(closing ? "" : "close");
window.addEventListener("keydown", e => { if (e.key === "Escape") mode(""); });

// ------------------------------------------------------------ cards
function heading(title, state, cls) { return make("div", "top", make("h3", "", title), make("span", "pill " + cls, state)); }
function button(text, then, cls) { const b = make("button", cls || "", text); b.type = "button"; b.onclick = e => { e.stopPropagation(); then(); }; return b; }
const online = v => v.connection === "online" && v.age_s !== null && v.age_s <= STALE_S;
const tone = v => !online(v) ? "--soft" : v.state && v.state.minimal_risk ? "--bad" : v.state && v.state.mode === "AUTONOMOUS" ? "--go" : "--now";
function car(v) {
  const s = v.state, c = make("div", "card pickable" + (v.vehicle === chosen ? " chosen" : ""));
  const state = online(v) ? (s.trip && !failed.has(s.trip.state) && s.trip.state !== "COMPLETED" ? words(s.trip.state) : words(s.mode)) : v.connection === "online" ? `silent, ${age(v.age_s)}` : words(v.connection);
  c.append(heading(v.vehicle, state, !online(v) || s.minimal_risk ? "bad" : "go"));
  if (s) c.append(make("div", "say soft", s.sentence || s.mode_reason || ""));
  c.onclick = () => choose(v.vehicle, true);
  return c;
}
function details(v) {
  const s = v.state, c = make("div", "card chosen"), d = make("dl");
  const row = (k, x) => d.append(make("dt", "", k), make("dd", "", String(x)));
  c.append(heading(v.vehicle, age(v.age_s), online(v) ? "go" : "bad"));
  if (s) {
    row("Mode", words(s.mode) + (s.minimal_risk ? ", minimal risk" : "") + (s.mode_reason ? `: ${s.mode_reason}` : ""));
    row("Speed", `${(s.speed * 3.6).toFixed(0)} km/h, ${s.acceleration.toFixed(1)} m/s²`);
    if (s.energy >= 0) row("Energy", `${(s.energy * 100).toFixed(0)} %` + (s.range >= 0 ? `, ${(s.range / 1000).toFixed(0)} km` : ""));
    if (s.trip) { row("Ride", `${s.trip.order_id}, ${words(s.trip.state).toLowerCase()}` + (s.trip.revision ? `, changed ${s.trip.revision} times` : "")); row("To go", `${s.trip.distance_to_go.toFixed(0)} m` + (s.trip.eta_s >= 0 ? `, about ${s.trip.eta_s.toFixed(0)} s` : "")); }
    row("Door", s.door_open ? "open" : "closed"); row("Seat", s.seat_occupied ? (s.belt_fastened ? "taken, belt on" : "taken, no belt") : "free");
    if (s.position) row("Position", `${s.position.lat.toFixed(6)}, ${s.position.lon.toFixed(6)} ±${s.position_sigma.toFixed(2)} m, ${s.position.datum}`);
    if (s.faults.length) row("Faults", s.faults.join("; "));
    if (s.avoided.length) row("Keeps out of", s.avoided.join(", "));
    row("Waiting for receipt", s.backlog); if (s.problem) row("Problem", s.problem);
  }
  if (v.factsheet) row("Software", v.factsheet.software);
  c.append(d);
  const tell = (command, extra) => send(`/vehicles/${encodeURIComponent(v.vehicle)}/commands`, { command, ...extra }).then(a => hint(a.error || `${words(command)}: asked; the car decides.`, true));
  const buttons = make("div", "row", button("Pull over", () => tell("pull_over")), button("Resume", () => tell("resume")), button("New route", () => tell("reroute")), button("Open doors", () => tell("open_doors")), button("Close doors", () => tell("close_doors")));
  c.append(buttons);
  return c;
}
function ride(o) {
  const c = make("div", "card"), p = o.request.pickup, d = o.request.dropoff, name = x => x.name || `${x.position.lat.toFixed(4)}, ${x.position.lon.toFixed(4)}`;
  c.append(heading(o.order_id, words(o.state), failed.has(o.state) ? "bad" : o.state === "COMPLETED" ? "go" : "now"));
  c.append(make("div", "soft", `${name(p)} → ${name(d)}` + (o.vehicle ? ` with ${o.vehicle}` : ", waiting for a car") + (o.eta_s ? `, there in about ${o.eta_s.toFixed(0)} s` : "")));
  if (o.reason) c.append(make("div", "say", o.reason));
  const list = make("ol"), first = o.events.length ? o.events[0].received_ns : 0;
  o.events.forEach((e, i) => {
    const l = make("li", failed.has(e.state) ? "fail" : i === o.events.length - 1 && !o.final ? "last" : "");
    l.append(make("time", "", `+${((e.received_ns - first) / 1e9).toFixed(0)} s`), words(e.state)); if (e.reason) l.append(make("small", "", e.reason)); list.append(l);
  });
  if (o.events.length) c.append(list);
  if (!o.final) c.append(make("div", "row", button("Cancel", () => send(`/orders/${encodeURIComponent(o.order_id)}/cancel`, { by: "platform" }).then(refresh))));
  return c;
}
function question(q) {
  const c = make("div", "card ask"), b = q.body, left = (q.deadline_ns / 1e6 - Date.now()) / 1000;
  c.append(heading(q.vehicle + " asks", `${Math.max(0, left).toFixed(0)} s left`, "warn"), make("div", "say", b.question));
  if (b.picture_jpeg) { const i = make("img"); i.alt = "What the car sees"; i.src = "data:image/jpeg;base64," + b.picture_jpeg; c.append(i); }
  const r = make("div", "row");
  for (const o of b.options) r.append(button(o.text + (o.option_id === b.default ? " (else)" : ""), () => send(`/vehicles/${encodeURIComponent(q.vehicle)}/answers`, { question_id: q.question_id, option_id: o.option_id }).then(a => { if (a.error) hint(a.error); refresh(); }), o.option_id === b.default ? "main" : ""));
  c.append(r); return c;
}
function alarm(e) {
  const c = make("div", "card alarm");
  c.append(heading(e.vehicle, words(e.kind), "bad"), make("div", "say", e.text), make("div", "row", button("Seen", () => send(`/events/${e.message_id}/acknowledge`, {}).then(refresh))));
  return c;
}
function area(a) {
  const c = make("div", "card alarm"), left = Math.max(0, a.until_ns / 6e10 - Date.now() / 6e4);
  c.append(heading("Closed place", `${left.toFixed(0)} min left`, "bad"), make("div", "say soft", `${a.radius.toFixed(0)} m round ${a.lat.toFixed(5)}, ${a.lon.toFixed(5)}. ` + (a.obeyed.length ? `${a.obeyed.join(", ")} keep${a.obeyed.length > 1 ? "" : "s"} out.` : "") + (a.asked.length ? ` No answer yet from ${a.asked.join(", ")}.` : "")));
  c.append(make("div", "row", button("Open again", () => send("/areas", { area_id: a.area_id, lat: a.lat, lon: a.lon, radius: a.radius, minutes: 0 }).then(x => { if (x.error) hint(x.error, true); refresh(); }))));
  return c;
}
function show() {
  const v = news.vehicles.find(x => x.vehicle === chosen);
  byId("questions").replaceChildren(...news.questions.filter(q => !q.settled).map(question));
  byId("alarms").replaceChildren(...news.events.filter(e => e.severity === "alarm" && !e.acknowledged).slice(0, 5).map(alarm));
  byId("areas").replaceChildren(...(news.areas || []).map(area));
  byId("vehicle").replaceChildren(...(v ? [details(v)] : []));
  byId("cars").replaceChildren(...(news.vehicles.length ? news.vehicles.map(car) : [make("p", "soft", "No car yet.")]));
  byId("rides").replaceChildren(...(news.orders.length ? news.orders.slice(0, 30).map(ride) : [make("p", "soft", "No ride yet. Order one on the map.")]));
  byId("count").textContent = `${news.vehicles.filter(online).length} of ${news.vehicles.length} cars online`;
  showMap(news, chosen, picking, tone, isOver);
}
let fitted = false;
async function refresh() {
  try {
    const answer = await (await fetch("/snapshot")).json();
    if (answer.error) { byId("link").textContent = answer.error; return; }
    news = answer;
    byId("link").textContent = news.link; byId("operator").textContent = news.operator;
    if (!fitted && (town.lanes.length || news.vehicles.some(v => v.state && v.state.position))) { fitMap(town, news.vehicles, false); fitted = true; }
    show();
  } catch (e) { byId("link").textContent = "The desk does not answer."; }
}
async function start() {
  try { town = await (await fetch("/map")).json(); } catch (e) { hint("No map."); }
  const problem = startMap(town, click);
  if (problem) { byId("map").textContent = problem; byId("map").classList.add("none"); }
  await refresh();
  setInterval(refresh, 1000);
}
start();

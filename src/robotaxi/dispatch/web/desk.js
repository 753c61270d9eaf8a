"use strict";
// The desk's page: a live map drawn on a canvas, cars, rides, questions and alarms. Nothing comes from outside.
const byId = id => document.getElementById(id);
const canvas = byId("map"), brush = canvas.getContext("2d");
const failed = new Set(["REJECTED", "CANCELLED", "ABORTED", "NO_SHOW", "EXPIRED"]);
const words = s => (s.charAt(0) + s.slice(1).toLowerCase()).replaceAll("_", " ");
const STALE_S = 5;
let town = { lanes: [], places: [] }, news = { vehicles: [], orders: [], questions: [], events: [] };
let view = { lat: 0, lon: 0, scale: 1 };  // scale: pixels a metre
let chosen = "", picking = null, base = { lat: 0, lon: 0, east: 1 };
const M = 111320;  // metres a degree of latitude

function make(tag, cls, ...children) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  e.append(...children.filter(c => c !== undefined && c !== null));
  return e;
}
const age = s => s === null ? "never" : s < 2 ? "now" : s < 90 ? `${s.toFixed(0)} s ago` : `${(s / 60).toFixed(0)} min ago`;

// ------------------------------------------------------------ map
const metres = (lat, lon) => [(lon - base.lon) * base.east, (lat - base.lat) * M];
function toPixel(lat, lon) {
  const [x, y] = metres(lat, lon), [cx, cy] = metres(view.lat, view.lon);
  return [canvas.clientWidth / 2 + (x - cx) * view.scale, canvas.clientHeight / 2 - (y - cy) * view.scale];
}
function toPlace(px, py) {
  const lat = view.lat - (py - canvas.clientHeight / 2) / view.scale / M;
  return [lat, view.lon + (px - canvas.clientWidth / 2) / view.scale / base.east];
}
function fit() {
  const lats = [], lons = [];
  for (const lane of town.lanes) for (let i = 0; i < lane.center.length; i += 2) { lats.push(lane.center[i]); lons.push(lane.center[i + 1]); }
  for (const v of news.vehicles) if (!lats.length && v.state && v.state.position) { lats.push(v.state.position.lat); lons.push(v.state.position.lon); }
  if (!lats.length) return;
  const lo = [Math.min(...lats), Math.min(...lons)], hi = [Math.max(...lats), Math.max(...lons)];
  view.lat = (lo[0] + hi[0]) / 2; view.lon = (lo[1] + hi[1]) / 2;
  base = { lat: view.lat, lon: view.lon, east: M * Math.cos(view.lat * Math.PI / 180) };
  const wide = Math.max((hi[1] - lo[1]) * base.east, 60), high = Math.max((hi[0] - lo[0]) * M, 60);
  view.scale = 0.92 * Math.min(canvas.clientWidth / wide, canvas.clientHeight / high);
}
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function trace(line, from = 0, step = 2) {
  for (let i = from; i < line.length; i += step) { const [x, y] = toPixel(line[i], line[i + 1]); i ? brush.lineTo(x, y) : brush.moveTo(x, y); }
}
function traceBack(line) {
  for (let i = line.length - 2; i >= 0; i -= 2) brush.lineTo(...toPixel(line[i], line[i + 1]));
}
const modeColor = v => v.connection !== "online" || v.age_s === null || v.age_s > STALE_S ? color("--soft")
  : v.state && v.state.minimal_risk ? color("--bad") : v.state && v.state.mode === "AUTONOMOUS" ? color("--go") : color("--now");

function draw() {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== w * ratio || canvas.height !== h * ratio) { canvas.width = w * ratio; canvas.height = h * ratio; }
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.clearRect(0, 0, w, h);
  brush.fillStyle = brush.strokeStyle = color("--road"); brush.lineWidth = 1;
  for (const lane of town.lanes) { brush.beginPath(); trace(lane.left); traceBack(lane.right); brush.closePath(); brush.fill(); brush.stroke(); }
  brush.strokeStyle = color("--mark"); brush.lineWidth = Math.max(0.5, 0.12 * view.scale);
  for (const lane of town.lanes) if (!lane.junction) { brush.beginPath(); trace(lane.left); brush.stroke(); }
  brush.font = "12px system-ui, sans-serif"; brush.textAlign = "center";
  for (const place of town.places) {
    const [x, y] = toPixel(place.lat, place.lon);
    brush.fillStyle = color("--soft"); brush.beginPath(); brush.arc(x, y, 2.5, 0, 7); brush.fill();
    if (view.scale > 2.5) brush.fillText(place.name, x, y - 7);
  }
  for (const v of news.vehicles) drawCar(v);
  if (picking) for (const [key, letter] of [["pickup", "A"], ["dropoff", "B"]]) if (picking[key]) pin(picking[key].lat, picking[key].lon, letter, color("--now"));
}
function pin(lat, lon, letter, fill) {
  const [x, y] = toPixel(lat, lon);
  brush.fillStyle = fill; brush.beginPath(); brush.arc(x, y, 9, 0, 7); brush.fill();
  brush.fillStyle = color("--card"); brush.textAlign = "center"; brush.fillText(letter, x, y + 4);
}
function drawCar(v) {
  const s = v.state;
  if (!s || !s.position) return;
  const tone = modeColor(v), [x, y] = toPixel(s.position.lat, s.position.lon);
  if (s.trip && s.trip.pickup && !failed.has(s.trip.state) && s.trip.state !== "COMPLETED" && (v.vehicle === chosen || news.vehicles.length < 8)) {
    pin(s.trip.pickup.lat, s.trip.pickup.lon, "A", tone);
    (s.trip.stops || []).forEach(p => pin(p.lat, p.lon, "•", tone));
    pin(s.trip.dropoff.lat, s.trip.dropoff.lon, "B", tone);
  }
  if (s.trajectory && s.trajectory.length > 1) {
    brush.strokeStyle = tone; brush.lineWidth = Math.max(2, 1.2 * view.scale); brush.globalAlpha = 0.45; brush.lineCap = "round";
    brush.beginPath(); s.trajectory.forEach((p, i) => { const q = toPixel(p[0], p[1]); i ? brush.lineTo(...q) : brush.moveTo(...q); }); brush.stroke();
    brush.globalAlpha = 1;
  }
  brush.save(); brush.translate(x, y); brush.rotate((s.heading_deg || 0) * Math.PI / 180);
  const k = Math.max(view.scale, 3.2);
  brush.fillStyle = tone; brush.strokeStyle = color("--card"); brush.lineWidth = v.vehicle === chosen ? 3 : 1.5;
  brush.beginPath(); brush.moveTo(0, -2.9 * k); brush.lineTo(1.1 * k, -1.6 * k); brush.lineTo(1.1 * k, 1.6 * k); brush.lineTo(-1.1 * k, 1.6 * k); brush.lineTo(-1.1 * k, -1.6 * k); brush.closePath();
  brush.fill(); brush.stroke(); brush.restore();
  brush.fillStyle = color("--ink"); brush.textAlign = "left"; brush.fillText(v.vehicle, x + 12, y - 4);
  if (s.sentence && s.speed < 0.5 && (v.vehicle === chosen || view.scale > 3)) { brush.fillStyle = color("--soft"); brush.fillText(s.sentence.slice(0, 60), x + 12, y + 10); }
}
function snap(lat, lon) {  // the nearest point of a lane's middle, with its direction
  let best = null;
  for (const lane of town.lanes) {
    if (lane.junction) continue;
    for (let i = 0; i + 3 < lane.center.length; i += 2) {
      const [ax, ay] = metres(lane.center[i], lane.center[i + 1]), [bx, by] = metres(lane.center[i + 2], lane.center[i + 3]), [px, py] = metres(lat, lon);
      const dx = bx - ax, dy = by - ay, t = Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy || 1)));
      const x = ax + t * dx, y = ay + t * dy, d = Math.hypot(px - x, py - y);
      if (!best || d < best.d) best = { d, lat: base.lat + y / M, lon: base.lon + x / base.east, heading_deg: (Math.atan2(dx, dy) * 180 / Math.PI + 360) % 360 };
    }
  }
  return best && best.d < 40 ? best : town.lanes.length ? null : { lat, lon, heading_deg: null };
}
async function click(px, py) {
  const [lat, lon] = toPlace(px, py);
  if (!picking) {
    let near = null;
    for (const v of news.vehicles) if (v.state && v.state.position) {
      const [x, y] = toPixel(v.state.position.lat, v.state.position.lon), d = Math.hypot(x - px, y - py);
      if (d < 24 && (!near || d < near.d)) near = { d, v };
    }
    chosen = near ? near.v.vehicle : ""; show(); return;
  }
  const at = snap(lat, lon);
  if (!at) { hint("That is not on a road. Click nearer to a lane."); return; }
  if (!picking.pickup) { picking.pickup = at; hint("Now click the destination."); draw(); return; }
  picking.dropoff = at;
  const place = p => ({ lat: p.lat, lon: p.lon, heading_deg: p.heading_deg });
  const answer = await send("/orders", { pickup: place(picking.pickup), dropoff: place(picking.dropoff) });
  hint(answer.error ? answer.error : `${answer.order_id} is ordered.`);
  picking = null; canvas.classList.remove("pick"); setTimeout(() => { if (!picking) hint(""); }, 4000); refresh();
}
function hint(text) { byId("hint").textContent = text; }
async function send(path, body) {
  try { return await (await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json(); }
  catch (e) { return { error: "The desk does not answer." }; }
}

// ------------------------------------------------------------ pointer
const fingers = new Map(); let moved = 0;
canvas.addEventListener("pointerdown", e => { canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, [e.offsetX, e.offsetY]); moved = fingers.size > 1 ? 99 : 0; });
canvas.addEventListener("pointermove", e => {
  const before = fingers.get(e.pointerId); if (!before) return;
  const now = [e.offsetX, e.offsetY], other = [...fingers].find(([id]) => id !== e.pointerId);
  if (other) zoom(Math.hypot(now[0] - other[1][0], now[1] - other[1][1]) / Math.max(Math.hypot(before[0] - other[1][0], before[1] - other[1][1]), 1), ...other[1]);
  else { moved += Math.hypot(now[0] - before[0], now[1] - before[1]); if (moved > 5) { view.lat += (now[1] - before[1]) / view.scale / M; view.lon -= (now[0] - before[0]) / view.scale / base.east; } }
  fingers.set(e.pointerId, now); draw();
});
canvas.addEventListener("pointerup", e => { const was = fingers.delete(e.pointerId); if (was && moved <= 5) click(e.offsetX, e.offsetY); });
canvas.addEventListener("pointercancel", e => fingers.delete(e.pointerId));
canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY); draw(); }, { passive: false });
function zoom(factor, px, py) {
  const before = toPlace(px, py); view.scale = Math.max(0.02, Math.min(60, view.scale * factor));
  const after = toPlace(px, py); view.lat += before[0] - after[0]; view.lon += before[1] - after[1];
}
byId("in").onclick = () => { zoom(1.5, canvas.clientWidth / 2, canvas.clientHeight / 2); draw(); };
byId("out").onclick = () => { zoom(1 / 1.5, canvas.clientWidth / 2, canvas.clientHeight / 2); draw(); };
byId("fit").onclick = () => { fit(); draw(); };
byId("order").onclick = () => { picking = picking ? null : {}; canvas.classList.toggle("pick", !!picking); hint(picking ? "Click where the rider waits." : ""); draw(); };

// ------------------------------------------------------------ cards
function heading(title, state, cls) { return make("div", "top", make("h3", "", title), make("span", "pill " + cls, state)); }
function button(text, then, cls) { const b = make("button", cls || "", text); b.type = "button"; b.onclick = e => { e.stopPropagation(); then(); }; return b; }
const online = v => v.connection === "online" && v.age_s !== null && v.age_s <= STALE_S;
function car(v) {
  const s = v.state, c = make("div", "card pickable" + (v.vehicle === chosen ? " chosen" : ""));
  const state = online(v) ? (s.trip && !failed.has(s.trip.state) && s.trip.state !== "COMPLETED" ? words(s.trip.state) : words(s.mode)) : v.connection === "online" ? `silent, ${age(v.age_s)}` : words(v.connection);
  c.append(heading(v.vehicle, state, !online(v) || s.minimal_risk ? "bad" : "go"));
  if (s) c.append(make("div", "say soft", s.sentence || s.mode_reason || ""));
  c.onclick = () => { chosen = chosen === v.vehicle ? "" : v.vehicle; show(); };
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
  const tell = (command, extra) => send(`/vehicles/${encodeURIComponent(v.vehicle)}/commands`, { command, ...extra }).then(a => { hint(a.error || `${words(command)}: asked; the car decides.`); setTimeout(() => hint(""), 4000); });
  const buttons = make("div", "row", button("Pull over", () => tell("pull_over")), button("Resume", () => tell("resume")), button("New route", () => tell("reroute")), button("Open doors", () => tell("open_doors")), button("Close doors", () => tell("close_doors")));
  if (s && s.position) buttons.append(button("Close this place for 10 min", () => tell("avoid_area", { area: { area_id: `closed-${Date.now()}`, lat: s.position.lat, lon: s.position.lon, radius: 25, minutes: 10 } })));
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
function show() {
  const v = news.vehicles.find(x => x.vehicle === chosen);
  byId("questions").replaceChildren(...news.questions.filter(q => !q.settled).map(question));
  byId("alarms").replaceChildren(...news.events.filter(e => e.severity === "alarm" && !e.acknowledged).slice(0, 5).map(alarm));
  byId("vehicle").replaceChildren(...(v ? [details(v)] : []));
  byId("cars").replaceChildren(...(news.vehicles.length ? news.vehicles.map(car) : [make("p", "soft", "No car yet.")]));
  byId("rides").replaceChildren(...(news.orders.length ? news.orders.slice(0, 30).map(ride) : [make("p", "soft", "No ride yet. Order one on the map.")]));
  byId("count").textContent = `${news.vehicles.filter(online).length} of ${news.vehicles.length} cars online`;
  draw();
}
let fitted = false;
async function refresh() {
  try {
    news = await (await fetch("/snapshot")).json();
    if (news.error) { byId("link").textContent = news.error; return; }
    byId("link").textContent = news.link; byId("operator").textContent = news.operator;
    if (!fitted && (town.lanes.length || news.vehicles.some(v => v.state && v.state.position))) { fit(); fitted = true; }
    show();
  } catch (e) { byId("link").textContent = "The desk does not answer."; }
}
async function start() {
  try { town = await (await fetch("/map")).json(); } catch (e) { hint("No map."); }
  await refresh();
  setInterval(refresh, 1000);
}
window.addEventListener("resize", draw);
start();

"""The desk's status page: one HTML document, nothing fetched from outside."""

# ruff: noqa: E501 - the lines of the document

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dispatch desk</title>
<style>
:root { --ink:#16202c; --soft:#637083; --line:#dde3ea; --card:#fff; --page:#f3f5f8; --go:#0b7a53; --now:#1d5fd1; --bad:#b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e8edf3; --soft:#97a3b3; --line:#2b3644; --card:#18212c; --page:#0f151d; --go:#3ecf96; --now:#7aa8ff; --bad:#ff8a80; } }
* { box-sizing:border-box } body { margin:0; font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:var(--page) }
header { display:flex; gap:12px; align-items:baseline; padding:20px 24px 4px; flex-wrap:wrap }
h1 { font-size:20px; margin:0 } h2 { font-size:16px; margin:0 } #link { color:var(--soft) }
main { display:grid; gap:16px; padding:16px 24px 32px; grid-template-columns:repeat(auto-fill,minmax(330px,1fr)) }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px 18px }
.top { display:flex; justify-content:space-between; gap:8px; align-items:center; margin-bottom:6px }
.pill { font-size:12px; padding:2px 10px; border-radius:99px; border:1px solid currentColor; white-space:nowrap }
.go { color:var(--go) } .now { color:var(--now) } .bad { color:var(--bad) } .soft { color:var(--soft) }
.say { font-size:17px; margin:8px 0 12px; min-height:1.5em }
dl { display:grid; grid-template-columns:auto 1fr; gap:2px 14px; margin:0 } dt { color:var(--soft) } dd { margin:0; text-align:right; font-variant-numeric:tabular-nums }
ol { list-style:none; margin:10px 0 0; padding:0 } li { position:relative; padding:0 0 10px 22px; border-left:2px solid var(--line); margin-left:6px }
li:last-child { border-color:transparent; padding-bottom:0 }
li::before { content:""; position:absolute; left:-7px; top:5px; width:12px; height:12px; border-radius:50%; background:var(--go) }
li.last::before { background:var(--now) } li.fail::before { background:var(--bad) }
li time { float:right; color:var(--soft); font-variant-numeric:tabular-nums } li small { display:block; color:var(--soft) }
</style>
<header><h1>Dispatch desk</h1><span id="link"></span></header>
<main id="cards"><p class="soft">Loading…</p></main>
<script>
const bad = new Set(["REJECTED","CANCELLED","ABORTED","NO_SHOW","EXPIRED"]);
const words = s => (s.charAt(0) + s.slice(1).toLowerCase()).replaceAll("_", " ");
function make(tag, cls, text) { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; }
function row(dl, name, value) { dl.append(make("dt", "", name), make("dd", "", value)); }
const ago = ns => { const s = Date.now()/1000 - ns/1e9; return s < 2 ? "now" : s < 90 ? `${s.toFixed(0)} s ago` : `${(s/60).toFixed(0)} min ago`; };
function head(card, title, state, cls) { const t = make("div","top"); t.append(make("h2","",title), make("span","pill "+cls,state)); card.append(t); }
function vehicle(v) {
  const c = make("section","card"), s = v.state;
  head(c, v.vehicle, words(v.connection), v.connection === "online" ? "go" : "bad");
  c.append(make("div","say", s ? s.sentence || s.mode_reason || "No word on its driving." : "No state yet."));
  if (s) { const d = make("dl");
    row(d,"Mode", words(s.mode)); row(d,"Speed", `${(s.speed*3.6).toFixed(0)} km/h`);
    if (s.trip) { row(d,"Trip", `${s.trip.order_id}, ${words(s.trip.state).toLowerCase()}`); row(d,"To go", `${s.trip.distance_to_go.toFixed(0)} m`); }
    row(d,"Door", s.door_open ? "open" : "closed"); row(d,"Seat", s.seat_occupied ? (s.belt_fastened ? "taken, belt on" : "taken, no belt") : "free");
    if (s.position) row(d,"Position (WGS 84)", `${s.position.lat.toFixed(6)}, ${s.position.lon.toFixed(6)}`);
    row(d,"Waiting for receipt", s.backlog); row(d,"Heard", ago(v.received_ns)); if (s.problem) row(d,"Problem", s.problem); c.append(d); }
  return c;
}
function order(o) {
  const c = make("section","card");
  head(c, o.order_id, words(o.state), bad.has(o.state) ? "bad" : o.state === "COMPLETED" ? "go" : "now");
  const p = o.request.pickup, d = o.request.dropoff, name = x => x.name || `${x.position.lat.toFixed(5)}, ${x.position.lon.toFixed(5)}`;
  c.append(make("div","soft", `${name(p)} → ${name(d)} with ${o.vehicle}`)); if (o.reason) c.append(make("div","say",o.reason));
  const list = make("ol"), first = o.events.length ? o.events[0].stamp_ns : 0;
  o.events.forEach((e,i) => { const l = make("li", bad.has(e.state) ? "fail" : i === o.events.length-1 && !o.final ? "last" : "");
    l.append(make("time","",`+${((e.stamp_ns-first)/1e9).toFixed(1)} s`), make("span","",words(e.state))); if (e.reason) l.append(make("small","",e.reason)); list.append(l); });
  if (!o.events.length) list.append(make("li","last", o.delivered ? "The car has the offer" : "Waiting for the car"));
  c.append(list); return c;
}
async function refresh() {
  try {
    const [h,v,o] = await Promise.all(["health","vehicles","orders"].map(p => fetch("/"+p).then(r => r.json())));
    document.getElementById("link").textContent = h.link;
    const cards = [...v.vehicles.map(vehicle), ...o.orders.map(order)];
    document.getElementById("cards").replaceChildren(...(cards.length ? cards : [make("p","soft","No car and no order yet.")]));
  } catch (e) { document.getElementById("link").textContent = "The desk does not answer."; }
  setTimeout(refresh, 1000);
}
refresh();
</script>
</html>
"""

"use strict";
// The live map: MapLibre GL with our own lanes, closed areas, cars and pins as vectors. No tiles, no glyphs, no sprites:
// what is written on the map is drawn here and given to MapLibre as images.
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const M = 111320;  // metres a degree of latitude
const EARTH = 40075016.7;  // metres round the equator
const CAR = 4.8, SMALL = 26;  // a car's length in metres, and the least in pixels
const RATIO = Math.max(2, Math.ceil(window.devicePixelRatio || 1));
const features = list => ({ type: "FeatureCollection", features: list });
const feature = (type, coordinates, properties = {}) => ({ type: "Feature", properties, geometry: { type, coordinates } });
const lonLat = flat => { const line = []; for (let i = 0; i < flat.length; i += 2) line.push([flat[i + 1], flat[i]]); return line; };

let map = null, mapReady = false, base = { lat: 0, lon: 0, east: M };
const sayings = new Map();  // vehicle -> the marker with its sentence

const metres = (lat, lon) => [(lon - base.lon) * base.east, (lat - base.lat) * M];
const toPixel = (lat, lon) => { const p = map.project([lon, lat]); return [p.x, p.y]; };

// ------------------------------------------------------------ pictures on the map
function picture(width, height, paint) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil(width * RATIO); canvas.height = Math.ceil(height * RATIO);
  const brush = canvas.getContext("2d");
  brush.scale(RATIO, RATIO); paint(brush);
  return brush.getImageData(0, 0, canvas.width, canvas.height);
}
function carPicture(tone, length) {  // seen from above, nose up
  const k = length / CAR, wide = 2.1 * k + 6, high = length + 6;
  return picture(wide, high, brush => {
    brush.translate(wide / 2, high / 2);
    const round = (x, y, w, h, nose, tail) => { brush.beginPath(); brush.roundRect(x * k, y * k, w * k, h * k, [nose * k, nose * k, tail * k, tail * k]); };
    brush.shadowColor = "rgba(0,0,0,.35)"; brush.shadowBlur = 4;
    round(-1.05, -2.4, 2.1, 4.8, 0.95, 0.45); brush.fillStyle = color(tone); brush.fill();
    brush.shadowColor = "transparent";
    brush.strokeStyle = color("--card"); brush.lineWidth = Math.max(1.2, 0.12 * k); brush.stroke();
    brush.fillStyle = color("--card"); brush.globalAlpha = 0.85;
    round(-0.75, -1.25, 1.5, 0.85, 0.35, 0.1); brush.fill();
    brush.globalAlpha = 0.45; round(-0.7, 1.25, 1.4, 0.5, 0.1, 0.25); brush.fill();
  });
}
const FONT = "600 12px system-ui, sans-serif";
function chipPicture(text, ink, back) {
  const probe = document.createElement("canvas").getContext("2d"); probe.font = FONT;
  const wide = probe.measureText(text).width + 12;
  return picture(wide, 20, brush => {
    if (back) { brush.beginPath(); brush.roundRect(0.5, 0.5, wide - 1, 19, 6); brush.fillStyle = back; brush.fill(); brush.strokeStyle = color("--line"); brush.stroke(); }
    brush.font = FONT; brush.textBaseline = "middle"; brush.textAlign = "center";
    if (!back) { brush.strokeStyle = color("--page"); brush.lineWidth = 3; brush.lineJoin = "round"; brush.strokeText(text, wide / 2, 10.5); }
    brush.fillStyle = ink; brush.fillText(text, wide / 2, 10.5);
  });
}
function pinPicture(letter, tone) {
  return picture(28, 36, brush => {
    brush.shadowColor = "rgba(0,0,0,.35)"; brush.shadowBlur = 3;
    brush.beginPath(); brush.arc(14, 14, 11, Math.PI * 0.85, Math.PI * 0.15); brush.lineTo(14, 34); brush.closePath();
    brush.fillStyle = color(tone); brush.fill(); brush.shadowColor = "transparent";
    brush.strokeStyle = color("--card"); brush.lineWidth = 1.5; brush.stroke();
    brush.fillStyle = color("--card"); brush.font = "700 13px system-ui, sans-serif"; brush.textAlign = "center"; brush.textBaseline = "middle";
    brush.fillText(letter, 14, 14.5);
  });
}
function draw(id) {  // what MapLibre asks for by name, when it first needs it
  const [kind, ...rest] = id.split("|");
  const made = kind === "small" ? carPicture(rest[0], SMALL) : kind === "big" ? carPicture(rest[0], 140)
    : kind === "pin" ? pinPicture(rest[0], rest[1]) : kind === "place" ? chipPicture(rest.join("|"), color("--soft"), "")
      : kind === "name" ? chipPicture(rest.join("|"), color("--ink"), color("--card")) : null;
  if (made && !map.hasImage(id)) map.addImage(id, made, { pixelRatio: RATIO });
}

// ------------------------------------------------------------ style
function styleOf() {
  const empty = { type: "geojson", data: features([]) };
  const zoomed = (metresWide, least) => {  // pixels of something so wide, whatever the zoom
    const at = z => 512 * 2 ** z / (EARTH * Math.cos(base.lat * Math.PI / 180)) * metresWide;
    const first = Math.log2(least / at(0));
    return ["interpolate", ["exponential", 2], ["zoom"], Math.max(first, 0), least, Math.max(first, 0) + 10, least * 1024];
  };
  const big = Math.log2(SMALL / CAR * EARTH * Math.cos(base.lat * Math.PI / 180) / 512);  // from here on in true size
  return {
    version: 8,
    sources: Object.fromEntries(["lanes", "marks", "edges", "places", "areas", "ways", "cars", "pins"].map(name => [name, { ...empty, maxzoom: 20, tolerance: 0.1 }])),
    layers: [
      { id: "ground", type: "background", paint: { "background-color": color("--page") } },
      { id: "kerb", type: "line", source: "edges", layout: { "line-cap": "round", "line-join": "round" }, paint: { "line-color": color("--kerb"), "line-width": zoomed(0.9, 2) } },
      { id: "road", type: "fill", source: "lanes", paint: { "fill-color": color("--road"), "fill-outline-color": color("--road") } },
      { id: "mark", type: "line", source: "marks", minzoom: big - 1, paint: { "line-color": color("--mark"), "line-width": zoomed(0.14, 0.6), "line-dasharray": [18, 18] } },
      { id: "area", type: "fill", source: "areas", paint: { "fill-color": color("--bad"), "fill-opacity": 0.18 } },
      { id: "area-edge", type: "line", source: "areas", paint: { "line-color": color("--bad"), "line-width": 2, "line-dasharray": [3, 2] } },
      { id: "place", type: "circle", source: "places", paint: { "circle-radius": 3, "circle-color": color("--soft"), "circle-stroke-color": color("--card"), "circle-stroke-width": 1 } },
      { id: "place-name", type: "symbol", source: "places", minzoom: big - 1, layout: { "icon-image": ["concat", "place|", ["get", "name"]], "icon-anchor": "bottom", "icon-offset": [0, -4] } },
      { id: "way", type: "line", source: "ways", layout: { "line-cap": "round", "line-join": "round" }, paint: { "line-color": ["get", "color"], "line-opacity": 0.45, "line-width": zoomed(1.7, 4) } },
      { id: "halo", type: "circle", source: "cars", filter: ["get", "chosen"], paint: { "circle-radius": zoomed(3.6, 20), "circle-color": color("--now"), "circle-opacity": 0.18, "circle-stroke-color": color("--now"), "circle-stroke-width": 1.5 } },
      { id: "pin", type: "symbol", source: "pins", layout: { "icon-image": ["concat", "pin|", ["get", "letter"], "|", ["get", "tone"]], "icon-anchor": "bottom", "icon-allow-overlap": true } },
      {
        id: "car", type: "symbol", source: "cars", layout: {
          "icon-image": ["step", ["zoom"], ["concat", "small|", ["get", "tone"]], big, ["concat", "big|", ["get", "tone"]]],
          "icon-size": ["interpolate", ["exponential", 2], ["zoom"], big - 0.001, 1, big, SMALL / 140, big + 8, SMALL / 140 * 256],
          "icon-rotate": ["get", "heading"], "icon-rotation-alignment": "map", "icon-allow-overlap": true, "icon-ignore-placement": true,
        },
      },
      { id: "name", type: "symbol", source: "cars", layout: { "icon-image": ["concat", "name|", ["get", "vehicle"]], "icon-anchor": "left", "icon-offset": [18, -16], "symbol-sort-key": ["case", ["get", "chosen"], 0, 1] } },
    ],
  };
}
function circle(lat, lon, radius) {
  const east = M * Math.cos(lat * Math.PI / 180), ring = [];
  for (let i = 0; i <= 48; i++) ring.push([lon + radius / east * Math.sin(i * Math.PI / 24), lat + radius / M * Math.cos(i * Math.PI / 24)]);
  return [ring];
}

// ------------------------------------------------------------ life
/** Makes the map; `clicked(lat, lon, vehicle)` is told where. Gives a sentence when there can be none, else "". */
function startMap(town, clicked) {
  if (typeof maplibregl === "undefined") return "The live map needs MapLibre GL. Where the desk runs: pip install robotaxi[view], then start the desk again.";
  setBase(town.origin ? { lat: town.origin[0], lon: town.origin[1] } : { lat: 0, lon: 0 });
  try {
    map = new maplibregl.Map({
      container: "map", style: styleOf(), center: [base.lon, base.lat], zoom: town.origin ? 15 : 1, maxZoom: 22,
      attributionControl: false, renderWorldCopies: false, dragRotate: false, pitchWithRotate: false, fadeDuration: 0,
    });
  } catch (error) {
    map = null;
    return "This browser cannot draw the live map: it needs WebGL 2.";
  }
  map.touchZoomRotate.disableRotation(); map.keyboard.disableRotation();
  map.addControl(new maplibregl.ScaleControl({ unit: "metric" }), "top-right");
  map.on("styleimagemissing", event => draw(event.id));
  map.on("zoomend", () => showSayings());
  map.on("click", event => {
    const { x, y } = event.point, near = map.queryRenderedFeatures([[x - 14, y - 14], [x + 14, y + 14]], { layers: ["car"] });
    clicked(event.lngLat.lat, event.lngLat.lng, near.length ? near[0].properties.vehicle : "");
  });
  map.on("load", () => {
    give("lanes", town.lanes.map(l => feature("Polygon", [[...lonLat(l.left), ...lonLat(l.right).reverse(), lonLat(l.left)[0]]])));
    give("edges", town.lanes.flatMap(l => [feature("LineString", lonLat(l.left)), feature("LineString", lonLat(l.right))]));
    give("marks", town.lanes.filter(l => !l.junction).map(l => feature("LineString", lonLat(l.left))));
    give("places", town.places.map(p => feature("Point", [p.lon, p.lat], { name: p.name })));
    mapReady = true;
    refreshMap();
  });
  return "";
}
function setBase(place) { base = { ...place, east: M * Math.cos(place.lat * Math.PI / 180) }; }
/** The whole town, or where there is none, all cars. */
function fitMap(town, vehicles, animate) {
  if (!map) return;
  const box = new maplibregl.LngLatBounds();
  for (const lane of town.lanes) lonLat(lane.center).forEach(p => box.extend(p));
  if (box.isEmpty()) for (const v of vehicles) if (v.state && v.state.position) box.extend([v.state.position.lon, v.state.position.lat]);
  if (!box.isEmpty()) map.fitBounds(box, { padding: { top: 40, bottom: 70, left: 30, right: 30 }, maxZoom: 18, animate });
}
function goTo(position) {
  if (map) map.easeTo({ center: [position.lon, position.lat], zoom: Math.max(map.getZoom(), 17), duration: 600 });
}

const given = {};  // source -> what it shows, as text: MapLibre works through all of it again when it is given anew
function give(source, list) {
  const text = JSON.stringify(list);
  if (given[source] !== text) { given[source] = text; map.getSource(source).setData(features(list)); }
}
let shown = { vehicles: [], areas: [], chosen: "", picking: null };
/** What moves: `tone(vehicle)` names a colour of the style sheet; `picking` the places of an order being made. */
function showMap(news, chosen, picking, tone, isOver) {
  shown = { vehicles: news.vehicles.filter(v => v.state && v.state.position), areas: news.areas || [], chosen, picking, tone, isOver };
  refreshMap();
}
function refreshMap() {
  if (!map || !mapReady || !shown.tone) return;
  const cars = [], ways = [], pins = [], at = p => [p.lon, p.lat];
  for (const v of shown.vehicles) {
    const s = v.state, tone = shown.tone(v), chosen = v.vehicle === shown.chosen;
    cars.push(feature("Point", at(s.position), { vehicle: v.vehicle, heading: s.heading_deg || 0, tone, chosen }));
    if (s.trajectory && s.trajectory.length > 1) ways.push(feature("LineString", s.trajectory.map(p => [p[1], p[0]]), { color: color(tone) }));
    if (s.trip && s.trip.pickup && !shown.isOver(s.trip.state) && (chosen || shown.vehicles.length < 8)) {
      pins.push(feature("Point", at(s.trip.pickup), { letter: "A", tone }), feature("Point", at(s.trip.dropoff), { letter: "B", tone }));
      (s.trip.stops || []).forEach((p, i) => pins.push(feature("Point", at(p), { letter: String(i + 1), tone })));
    }
  }
  for (const [key, letter] of [["pickup", "A"], ["dropoff", "B"]]) if (shown.picking && shown.picking[key]) pins.push(feature("Point", at(shown.picking[key]), { letter, tone: "--now" }));
  give("cars", cars);
  give("ways", ways);
  give("pins", pins);
  give("areas", shown.areas.map(a => feature("Polygon", circle(a.lat, a.lon, a.radius), { area: a.area_id })));
  showSayings();
}
/** Beside each car that stands: why. */
function showSayings() {
  if (!map) return;
  const close = map.getZoom() > 16.5, wanted = new Map();
  for (const v of shown.vehicles) {
    const s = v.state;
    if (s.sentence && s.speed < 0.5 && (v.vehicle === shown.chosen || close) && wanted.size < 40) wanted.set(v.vehicle, s);
  }
  for (const [vehicle, marker] of sayings) if (!wanted.has(vehicle)) { marker.remove(); sayings.delete(vehicle); }
  for (const [vehicle, s] of wanted) {
    let marker = sayings.get(vehicle);
    if (!marker) {
      const element = document.createElement("div"); element.className = "saying";
      marker = new maplibregl.Marker({ element, anchor: "top-left", offset: [18, -4] }).setLngLat([s.position.lon, s.position.lat]).addTo(map);
      sayings.set(vehicle, marker);
    }
    marker.setLngLat([s.position.lon, s.position.lat]);
    const text = s.sentence.length > 90 ? s.sentence.slice(0, 89) + "…" : s.sentence;
    if (marker.getElement().textContent !== text) marker.getElement().textContent = text;
  }
}
/** The nearest point of a lane's middle, with its direction; null where none is near. */
function snap(town, lat, lon) {
  let best = null;
  const [px, py] = metres(lat, lon);
  for (const lane of town.lanes) {
    if (lane.junction) continue;
    for (let i = 0; i + 3 < lane.center.length; i += 2) {
      const [ax, ay] = metres(lane.center[i], lane.center[i + 1]), [bx, by] = metres(lane.center[i + 2], lane.center[i + 3]);
      const dx = bx - ax, dy = by - ay, t = Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy || 1)));
      const x = ax + t * dx, y = ay + t * dy, d = Math.hypot(px - x, py - y);
      if (!best || d < best.d) best = { d, lat: base.lat + y / M, lon: base.lon + x / base.east, heading_deg: (Math.atan2(dx, dy) * 180 / Math.PI + 360) % 360 };
    }
  }
  return best && best.d < 40 ? best : town.lanes.length ? null : { lat, lon, heading_deg: null };
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());

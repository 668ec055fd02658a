"use strict";
// What the pages share. Offsets from the service count Unicode code points; JavaScript strings count UTF-16 units:
// every text is therefore split into an array of code points before it is cut.

const $ = (id) => document.getElementById(id);
let taxonomy = { themes: new Map(), matters: new Map() };

// {answer, etag} of a request; ``body`` is sent as JSON, or as it is where it is a form. Raises an Error with ``status``.
async function ask(path, body, { method = body === undefined ? "GET" : "POST", headers = {} } = {}) {
  const form = body instanceof FormData;
  const response = await fetch(path, {
    method,
    headers: body === undefined || form ? headers : { "Content-Type": "application/json", ...headers },
    body: body === undefined || form ? body : JSON.stringify(body),
  });
  if (response.status === 401) {
    location.assign("/login");
    throw new Error("请先登录");
  }
  const answer = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(answer.detail || answer.title || `HTTP ${response.status}`), { status: response.status, problem: answer });
  }
  return { answer, etag: response.headers.get("ETag") };
}

const call = async (path, body) => (await ask(path, body)).answer;

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (className) node.className = className;
  return node;
}

const percent = (p) => `${(100 * p).toFixed(p > 0.995 || p < 0.0995 ? 1 : 0)}%`;
const grades = { duplicate: "重复", related: "相关", unrelated: "无关" };
const kinds = { place: "地点", object: "对象", polarity: "诉求方向", number: "数字", time: "时间" };
const roles = { viewer: "查看", operator: "经办", admin: "管理" };
const themeName = (id) => taxonomy.themes.get(id) || id;
const matterName = (id) => taxonomy.matters.get(id) || id;
const levelOf = (confidence) => (confidence >= 0.9 ? "高" : confidence >= 0.6 ? "中" : "低");

async function loadTaxonomy() {
  const data = await call("/v1/taxonomy");
  taxonomy = {
    themes: new Map(data.themes.map((t) => [t.id, t.name])),
    matters: new Map(data.matters.map((m) => [m.id, m.name])),
    themeOf: new Map(data.matters.map((m) => [m.id, m.theme])),
  };
}

// Who is logged in; without keys there is nobody to tell apart, and nothing to leave.
async function showCaller() {
  const caller = await call("/v1/me");
  $("name").textContent = `${caller.name}（${roles[caller.role]}）`;
  $("caller").hidden = !caller.page;
  $("logout").addEventListener("click", async () => {
    await fetch("/logout", { method: "POST" });
    location.assign("/login");
  });
  return caller;
}

// Marks overlap (an entity inside evidence): cut at every boundary, then give each piece the classes that cover it.
function mark(target, field, source, spans) {
  const points = Array.from(source);
  const mine = spans.filter((s) => s.field === field);
  const cuts = [...new Set([0, points.length, ...mine.flatMap((s) => [s.start, s.end])])].sort((a, b) => a - b);
  for (let i = 0; i + 1 < cuts.length; i++) {
    const covering = mine.filter((s) => s.start <= cuts[i] && cuts[i + 1] <= s.end);
    let node = document.createTextNode(points.slice(cuts[i], cuts[i + 1]).join(""));
    for (const span of covering) {
      const wrap = element(span.tag, undefined, span.className);
      wrap.title = span.hint;
      wrap.append(node);
      node = wrap;
    }
    target.append(node);
  }
}

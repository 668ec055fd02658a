"use strict";
const $ = (id) => document.getElementById(id);
const SHOWN = 30;
const SVG = "http://www.w3.org/2000/svg";
const state = { topics: [], all: false };

async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || answer.title || `HTTP ${response.status}`);
  return answer;
}

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function fail(error) {
  $("error").textContent = `未能完成：${error.message}`;
  $("error").hidden = false;
}

const listed = (counts) => Object.entries(counts).map(([name, count]) => `${name} ${count}`).join("，");
const query = () => ($("as_of").value ? `?as_of=${encodeURIComponent($("as_of").value)}` : "");
const fill = (id, nodes, empty) => $(id).replaceChildren(...(nodes.length ? nodes : [element("li", empty, "muted")]));

// A line of distinct submitters, with its highest point in words; so few that it says little make a low line.
function trendLine(months) {
  const values = months.map((m) => m.voices);
  const highest = Math.max(0, ...values);
  const figure = element("figure", undefined, "trend");
  figure.append(trendDrawing(values, Math.max(5, highest)), element("figcaption", `最多 ${highest} 人`, "muted"));
  return figure;
}

function trendDrawing(values, top) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 120 30");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `近十二个三十天的反映人数：${values.join("、")}`);
  if (!values.length) return svg;
  const points = values.map((v, i) => [3 + (114 * i) / Math.max(1, values.length - 1), 27 - (24 * v) / top]);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.map((p) => p.join(",")).join(" "));
  const dot = document.createElementNS(SVG, "circle");
  dot.setAttribute("cx", points.at(-1)[0]);
  dot.setAttribute("cy", points.at(-1)[1]);
  dot.setAttribute("r", 2.5);
  svg.append(line, dot);
  return svg;
}

async function showMaterial(number) {
  try {
    const item = await call(`/v1/submissions/${number}`);
    const who = [item.submitter.name, item.submitter.sector].filter(Boolean).join("，");
    $("material-title").textContent = item.title || "（无标题）";
    $("material-facts").textContent = [
      `${item.source} ${item.external_id}`, item.received_at ? item.received_at.slice(0, 10) : "日期不详", item.district || item.district_named, who,
    ].filter(Boolean).join(" · ");
    $("material-text").textContent = item.text;
    $("material").showModal();
  } catch (error) {
    fail(error);
  }
}

function link(number, text) {
  const item = element("li");
  const button = element("button", text);
  button.type = "button";
  button.addEventListener("click", () => showMaterial(number));
  item.append(button);
  return item;
}

function materials(numbers, names) {
  const list = element("ul", undefined, "links");
  list.append(...numbers.map((number, i) => link(number, names[i])));
  return list;
}

function partRow(part) {
  const row = element("tr");
  const bar = element("td");
  const progress = element("progress");
  progress.max = 1;
  progress.value = part.value;
  progress.setAttribute("aria-label", part.label);
  bar.append(progress);
  row.append(element("td", part.label), bar, element("td", part.value.toFixed(2)), element("td", part.note));
  return row;
}

function candidateRow(one, index) {
  const row = element("li");
  const head = element("div", undefined, "head");
  head.append(element("span", `${index + 1}.`, "muted"), element("strong", one.name), element("span", `得分 ${one.score.toFixed(2)}`, "score"));
  if (one.rising) head.append(element("span", "上升", "tag rising"));
  row.append(head, element("div", one.reason));
  const parts = element("details");
  parts.open = index === 0;
  const table = element("table", undefined, "parts");
  table.append(...one.parts.filter((part) => part.value !== null).map(partRow));
  const unknown = one.parts.filter((part) => part.value === null);
  parts.append(element("summary", "各项得分"), table);
  if (unknown.length) parts.append(element("div", `不计分：${unknown.map((part) => `${part.label}（${part.note}）`).join("；")}`, "muted"));
  const behind = element("details");
  behind.append(element("summary", `依据的 ${one.numbers.length} 件材料`), materials(one.numbers, one.submissions));
  row.append(parts, behind);
  return row;
}

// The steps a researcher may take; each is signed.
function stepForm(topic) {
  const form = element("form", undefined, "step");
  const step = element("select");
  step.setAttribute("aria-label", "操作");
  const steps = topic.state !== "open" ? [["restore", "恢复"]]
    : [["rename", "定名"], ["pin", topic.pinned ? "取消置顶" : "置顶"], ["dismiss", "搁置"], ["merge", "并入（填编号）"]];
  step.append(...steps.map(([value, text]) => Object.assign(element("option", text), { value })));
  const [value, actor, reason] = ["新名称或议题编号", "经办人", "理由"].map((text) =>
    Object.assign(element("input"), { placeholder: text, ariaLabel: text, autocomplete: "off" }));
  const button = element("button", "记录");
  form.append(step, value, actor, reason, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const extra = { rename: { name: value.value }, pin: { pinned: !topic.pinned }, merge: { into: Number(value.value) } };
    try {
      await call(`/v1/topics/${topic.id}/${step.value}`, { actor: actor.value, reason: reason.value, ...extra[step.value] });
      await load();
    } catch (error) {
      fail(error);
    }
  });
  return form;
}

// Facts side by side, or one below the other where they do not fit.
function facts(texts) {
  const line = element("div", undefined, "facts muted");
  line.append(...texts.map((text) => element("span", text)));
  return line;
}

function topicRow(topic) {
  const item = element("li");
  const row = element("div", undefined, "row");
  const head = element("div", undefined, "head");
  head.append(element("strong", topic.name), element("span", topic.trend.label, `tag ${topic.trend.verdict}`));
  if (topic.pinned) head.append(element("span", "置顶", "tag pinned"));
  if (topic.state !== "open") head.append(element("span", topic.state === "merged" ? `已并入 ${topic.merged_into}` : "已搁置", "tag"));
  const text = element("div");
  text.append(head, facts([`编号 ${topic.id}`, `${topic.size} 件，去重 ${topic.distinct} 件，${topic.voices} 人`,
    `近 ${topic.window_days} 天 ${topic.recent} 人，此前一年 ${topic.before} 人`]));
  const byText = topic.districts_by_text ? `（${topic.districts_by_text} 件由正文识别）` : "";
  if (Object.keys(topic.districts).length) text.append(element("div", listed(topic.districts) + byText, "muted"));
  row.append(text, trendLine(topic.months));
  const more = element("details");
  more.append(element("summary", "代表材料与操作"),
    materials(topic.representatives.map((r) => r.id), topic.representatives.map((r) => r.title || r.external_id)), stepForm(topic));
  item.append(row, more);
  return item;
}

function showTopics() {
  const wanted = $("find").value.trim();
  const matching = state.topics.filter((t) => t.level === $("level").value
    && (!wanted || t.name.includes(wanted) || Object.keys(t.districts).some((d) => d.includes(wanted))));
  fill("topics", matching.slice(0, state.all ? matching.length : SHOWN).map(topicRow), "还没有这样的议题。");
  $("more").hidden = state.all || matching.length <= SHOWN;
  $("more").textContent = `显示全部 ${matching.length} 个`;
}

async function load() {
  $("error").hidden = true;
  $("state").textContent = "正在归类…";
  for (const format of ["xlsx", "docx"]) {
    $(format).href = `/v1/topics/candidates?format=${format}${query().replace("?", "&")}`;
  }
  try {
    const found = await call(`/v1/topics${query()}`);
    const selection = await call(`/v1/topics/candidates${query()}`);
    state.topics = found.topics;
    const { submissions, concrete, scattered } = found.coverage;
    $("coverage").textContent = `截至 ${found.as_of || "日期不详"}：${submissions} 件，${concrete} 件在具体议题中，${scattered} 件零散。`;
    $("notes").replaceChildren(...found.notes.map((note) => element("li", note)));
    fill("candidates", selection.candidates.map(candidateRow), "没有达到人数的选题。");
    fill("studied", selection.studied.map((c) => element("li", `${c.name}：${c.studied[0].title}（${c.studied[0].year || "年份不详"}）`)), "没有。");
    fill("gaps", selection.gaps.map((gap) => element("li", gap.note)), "没有。");
    showTopics();
    $("state").textContent = `已就绪 · ${found.topics.filter((t) => t.state === "open").length} 个议题`;
  } catch (error) {
    fail(error);
    $("state").textContent = "未能归类";
  }
}

async function check(event) {
  event.preventDefault();
  const button = $("check").querySelector("button");
  button.disabled = true;
  try {
    const found = await call("/v1/topics/check", { title: $("title").value });
    const near = element("ul", undefined, "plain-list");
    near.append(...found.topics.map((t) => element("li", `议题 ${t.topic} ${t.name}：${t.size} 件，${t.voices} 人，${t.trend.label}`)));
    near.append(...found.studied.map((w) => element("li", `以往：${w.title}（${w.year || "年份不详"}，${w.status || "状态不详"}）`)));
    const similar = found.similar.filter((s) => s.relation !== "unrelated").slice(0, 5);
    $("checked").replaceChildren(element("p", found.verdict), near,
      materials(similar.map((s) => s.id), similar.map((s) => s.title || s.external_id)));
  } catch (error) {
    $("checked").replaceChildren(element("p", `未能完成：${error.message}`, "error"));
  } finally {
    button.disabled = false;
  }
}

$("check").addEventListener("submit", check);
$("day").addEventListener("submit", (event) => { event.preventDefault(); load(); });
$("level").addEventListener("change", showTopics);
$("find").addEventListener("input", showTopics);
$("more").addEventListener("click", () => { state.all = true; showTopics(); });
load();

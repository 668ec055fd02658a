"use strict";
// The list of the inbox: what waits, its filters, and the keys. Panel, steps and import stand in files of their own.

const VIEWS = ["待审核", "留存", "已转办", "办理中", "已退回", "已办结", "临期", "超期", "全部"];
// From here on a duplicate is called 疑似, below it 可能.
const SURE = 0.75;
const inbox = {
  view: "待审核", items: [], total: 0, selected: null, open: null,
  caller: null, units: [], categories: [], undo: [],
  proposals: new Map(), near: new Map(), districts: new Set(), turn: 0,
};
const chosen = () => inbox.items.find((item) => item.id === inbox.selected);
const mayAct = () => inbox.caller && inbox.caller.role !== "viewer";

function say(text, { bad = false, undo = false } = {}) {
  $("message").hidden = !text;
  $("message").className = bad ? "message bad" : "message";
  $("message").querySelector("span").textContent = text;
  $("undo").hidden = !undo;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("message").hidden = true; }, bad ? 20000 : 9000);
}

// -- what is asked for

function query() {
  const asked = new URLSearchParams();
  const fields = $("filters").elements;
  if (inbox.view === "临期") asked.set("due", "soon");
  else if (inbox.view === "超期") asked.set("due", "over");
  else if (inbox.view !== "全部") asked.set("state", inbox.view);
  for (const name of ["theme", "district"]) if (fields[name].value) asked.set(name, fields[name].value);
  if (fields.urgent.checked) asked.set("urgent", "true");
  return asked;
}

// The filters that go by what is worked out row by row hide rows of the list that is here.
function visible(item) {
  const fields = $("filters").elements;
  const unit = fields.unit.value.trim();
  if (unit && !(unitOf(item) || "").includes(unit)) return false;
  return !fields.duplicate.checked || item.case !== null || duplicatesOf(item.id).length > 0;
}

const duplicatesOf = (id) => (inbox.near.get(id) || []).filter((one) => one.relation === "duplicate");
const isWaiting = (item) => item.standing.state === "待审核" || item.standing.state === "留存";

function unitOf(item) {
  if (item.standing.lead_unit) return item.standing.lead_unit;
  const proposal = inbox.proposals.get(item.id);
  return proposal && proposal.lead ? proposal.lead.name : null;
}

async function load() {
  const turn = ++inbox.turn;
  const found = await call(`/v1/inbox?${query()}`);
  if (turn !== inbox.turn) return;  // asked again meanwhile
  Object.assign(inbox, { items: found.items, total: found.total, categories: found.categories });
  for (const item of found.items) if (item.district || item.district_named) inbox.districts.add(item.district || item.district_named);
  if (!chosen()) inbox.selected = found.items.length ? found.items[0].id : null;
  showViews(found.counts);
  showDistricts();
  showRows();
  $("advice").hidden = !found.advice;
  $("advice").textContent = found.advice;
  $("state").textContent = `待审核 ${found.counts["待审核"] || 0} 件`;
  fill(turn);
}

// Proposals and duplicates, row by row in the order shown: each takes the model a moment.
async function fill(turn) {
  const lacking = inbox.items.filter((item) => isWaiting(item) && !(inbox.proposals.has(item.id) && inbox.near.has(item.id)));
  for (const [i, item] of lacking.entries()) {
    if (turn !== inbox.turn) return;
    $("filling").textContent = `正在查重与拟办 ${i + 1}/${lacking.length}`;
    try {
      if (!inbox.proposals.has(item.id)) inbox.proposals.set(item.id, (await call(`/v1/submissions/${item.id}`)).routing || null);
      await nearOf(item.id);
    } catch (error) {
      if (error.status !== 429) continue;  // shown where it is opened; a full queue is tried again
      await new Promise((done) => { setTimeout(done, 2000); });
      lacking.push(item);
    }
    refreshRow(item);
  }
  if (turn === inbox.turn) $("filling").textContent = "";
}

async function nearOf(id) {
  if (!inbox.near.has(id)) inbox.near.set(id, (await call(`/v1/submissions/${id}/similar?limit=8`)).items);
  return inbox.near.get(id);
}

// -- what is shown

function showViews(counts) {
  const all = VIEWS.slice(0, 6).filter((view) => view === "待审核" || view === inbox.view || counts[view]);
  const due = ["临期", "超期"].filter((view) => view === inbox.view || counts[view]);
  $("views").replaceChildren(...[...all, ...due, "全部"].map((view) => {
    const button = element("button", view, view === "临期" || view === "超期" ? "late" : "");
    button.type = "button";
    button.setAttribute("role", "tab");
    button.setAttribute("aria-selected", String(view === inbox.view));
    if (view !== "全部") button.append(element("b", counts[view] || 0));
    button.addEventListener("click", () => { inbox.view = view; shut(); load().catch(fail); });
    return button;
  }));
}

function options(select, pairs, first) {
  const kept = select.value;
  select.replaceChildren(...[["", first], ...pairs].map(([value, text]) => Object.assign(element("option", text), { value })));
  select.value = kept;
}

const showDistricts = () => options($("filters").elements.district, [...inbox.districts].sort().map((d) => [d, d]), "全部");

function showRows() {
  $("rows").replaceChildren(...inbox.items.map(rowOf));
  showShown();
}

function showShown() {
  const shown = [...$("rows").children].filter((row) => !row.hidden).length;
  const more = inbox.total > inbox.items.length ? `，只列最需要看的 ${inbox.items.length} 件` : "";
  $("shown").textContent = `显示 ${shown} 件，共 ${inbox.total} 件${more}`;
  $("empty").hidden = shown > 0;
  $("empty").textContent = inbox.total ? "没有符合条件的材料。"
    : inbox.view === "待审核" ? "没有待审核的材料。按“导入材料”登记新的一批。" : "没有这样的材料。";
}

function cell(...nodes) {
  const node = element("td");
  node.append(...nodes);
  return node;
}

function rowOf(item) {
  const row = element("tr", undefined, item.id === inbox.selected ? "selected" : "");
  row.dataset.id = item.id;
  row.hidden = !visible(item);
  const summary = element("div", undefined, "summary");
  summary.append(badges(item), item.title ? item.summary : "");
  const day = item.received_at ? item.received_at.slice(0, 10) : "日期不详";
  row.append(
    cell(element("div", item.standing.number || item.external_id), element("div", `${day} ${item.district || item.district_named || ""}`, "small")),
    cell(element("div", item.title || item.summary, "title"), summary),
    cell(element("div", themeName(item.primary)), element("div", item.matter ? matterName(item.matter) : "", "small")),
    cell(...unitCell(item)),
    cell(...sureCell(item)),
  );
  row.addEventListener("click", () => openItem(item.id));
  return row;
}

function unitCell(item) {
  const proposal = inbox.proposals.get(item.id);
  if (item.standing.lead_unit) return [element("div", item.standing.lead_unit), element("div", item.standing.due ? `时限 ${item.standing.due}` : "", "small")];
  if (proposal && !proposal.lead) return [element("div", "人工判断", "review")];
  return [element("div", unitOf(item) || "—"), element("div", proposal ? `把握${proposal.confidence}` : "", "small")];
}

function sureCell(item) {
  if (item.corrected) return [element("div", "人工判定", "accept")];
  if (item.confidence === null) return [element("div", "—")];
  const accept = item.decision === "accept";
  return [element("div", accept ? "建议采纳" : "需人工复核", accept ? "accept" : "review"),
    element("div", `把握${levelOf(item.confidence)} ${percent(item.confidence)}`, "small")];
}

function badges(item) {
  const box = element("span", undefined, "badges");
  const add = (text, name, hint) => { const one = element("span", text, `badge ${name}`); one.title = hint || ""; box.append(one); };
  if (item.urgent) add("紧急", "urgent", item.urgent);
  if (item.standing.due && ["已转办", "办理中"].includes(item.standing.state) && inbox.view === "超期") add("超期", "late");
  if (item.case !== null) add(`并案 ${item.case}`, "case", item.lead === item.id ? "主件" : `主件 ${item.lead} 号`);
  else {
    const alike = duplicatesOf(item.id);
    const others = alike.filter((one) => !one.same_submitter);
    const sure = others.some((one) => one.probability.duplicate >= SURE);
    if (others.length) add(`${sure ? "疑似" : "可能"}重复 ${others.length}`, sure ? "duplicate" : "related");
    if (alike.length > others.length) add("疑似续报", "related", "同一反映人此前的同一件事");
  }
  if (inbox.view === "全部" && item.standing.state !== "待审核") add(item.standing.state, "");
  return box;
}

function refreshRow(item) {
  const old = $("rows").querySelector(`[data-id="${item.id}"]`);
  if (old) old.replaceWith(rowOf(item));
  showShown();
}

function select(id) {
  inbox.selected = id;
  for (const row of $("rows").children) row.classList.toggle("selected", Number(row.dataset.id) === id);
  const row = $("rows").querySelector(".selected");
  if (row) row.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const ids = inbox.items.filter(visible).map((item) => item.id);
  const at = ids.indexOf(inbox.selected);
  const next = ids[at < 0 ? 0 : Math.min(Math.max(at + by, 0), ids.length - 1)];
  if (next === undefined || next === inbox.selected) return;
  select(next);
  if (inbox.open) openItem(next);
}

function fail(error) {
  say(`未能完成：${error.message}`, { bad: true });
}

// -- agreement

const interval = (s) => (s.share === null ? "—" : `${percent(s.share)}（${percent(s.low)}–${percent(s.high)}，${s.confirmed}/${s.confirmed + s.corrected}）`);

function table(heads, lines) {
  const node = element("table");
  const add = (cells, tag) => { const row = element("tr"); row.append(...cells.map((text) => element(tag, text))); node.append(row); };
  add(heads, "th");
  for (const line of lines) add(line, "td");
  return node;
}

const usual = (d) => (d.band ? `${percent(d.band[0])}–${percent(d.band[1])}${d.outside ? "，已超出" : ""}` : "往月不足，还说不出");

async function showAgreement() {
  if (!$("agreement").open) return;
  try {
    const found = await call("/v1/agreement");
    const themes = found.agreement.filter((row) => row.month === null);
    const months = found.agreement.filter((row) => row.month !== null && row.theme === null).slice(-6);
    const words = new Map(found.unknown_words.map((w) => [w.month, w]));
    const drift = found.drift.slice(-6).map((d) => [d.month, `${d.submissions} 件`, percent(d.share), usual(d),
      ...(words.has(d.month) ? [percent(words.get(d.month).share), usual(words.get(d.month))] : ["—", "—"])]);
    const parts = themes.length ? [
      element("p", "人保留了机器的判断的占比（95% 区间，件数）。", "muted"),
      table(["主题", "主题保留", "单位保留"], themes.map((row) => [row.theme ? themeName(row.theme) : "合计", interval(row.themes), interval(row.units)])),
      table(["月份", "主题保留", "单位保留"], months.map((row) => [row.month, interval(row.themes), interval(row.units)])),
    ] : [element("p", "还没有经人确认或修改过的材料。", "muted")];
    for (const [what, last] of [["模型不认识的词", found.unknown_words.at(-1)], ["需人工复核的", found.drift.at(-1)]]) {
      if (last && last.outside) parts.unshift(element("p", `${last.month} ${what}占 ${percent(last.share)}，超出往月的范围：来件可能变了样，请多看几件。`, "band"));
    }
    $("kept").replaceChildren(...parts, element("p", "各月收到的材料中，需人工复核的、模型不认识的词的占比，与往月的范围。", "muted"),
      table(["月份", "收到", "需人工复核", "往月的范围", "不认识的词", "往月的范围"], drift));
  } catch (error) {
    fail(error);
  }
}

// -- keys

const KEYS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  Enter: () => inbox.selected && openItem(inbox.selected), Escape: () => shut(),
  a: () => begin("confirm"), e: () => begin("correct"), r: () => begin("return"), c: () => begin("keep"), m: () => begin("merge"),
  u: () => undo(), "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, textarea, select, dialog, [contenteditable]");
  if (busy || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  if (event.key === "Enter" && event.target.closest("button, a, summary")) return;
  event.preventDefault();
  KEYS[event.key]();
});

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", (event) => {
  if (["theme", "district", "urgent"].includes(event.target.name)) load().catch(fail);
  else showRows();
});
$("filters").elements.unit.addEventListener("input", showRows);
$("agreement").addEventListener("toggle", showAgreement);
$("undo").addEventListener("click", () => undo());

async function start() {
  try {
    inbox.caller = await showCaller();
    showClerk();
    $("import").disabled = !mayAct();
    await loadTaxonomy();
    options($("filters").elements.theme, [...taxonomy.themes], "全部");
    await loadUnits();
    await load();
  } catch (error) {
    $("state").textContent = `服务不可用：${error.message}`;
  }
}

start();

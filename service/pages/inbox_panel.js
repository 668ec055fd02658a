"use strict";
// The panel: one submission with its evidence, what is like it, and its history.

let opening = 0;

// Reads a submission afresh, so that every step is taken on what is stored now.
async function openItem(id) {
  const turn = ++opening;
  select(id);
  try {
    const { answer, etag } = await ask(`/v1/submissions/${id}`);
    if (turn !== opening) return;
    inbox.proposals.set(id, answer.routing || null);
    inbox.open = { ...answer, etag };
    $("panel").replaceChildren(...panelOf(inbox.open));
    $("panel").scrollTop = 0;
    $("panel").hidden = false;
    document.querySelector(".desk").classList.add("open");
    select(id);
    lookAround(id, turn);
  } catch (error) {
    if (turn === opening) fail(error);
  }
}

// What is near takes the model a moment: nobody has to wait for it.
async function lookAround(id, turn) {
  try {
    const near = await nearOf(id);
    const item = inbox.items.find((one) => one.id === id);
    if (item) refreshRow(item);
    if (turn === opening) showNear(near);
  } catch (error) {
    if (turn === opening) $("near").textContent = `未能查找：${error.message}`;
  }
}

function shut() {
  opening++;
  inbox.open = null;
  $("panel").hidden = true;
  document.querySelector(".desk").classList.remove("open");
}

function panelOf(found) {
  return [barOf(found), ...warnings(found), proposal(found), ...textOf(found), ...themesOf(found), nearBox(found), ...historyOf(found)];
}

function barOf(found) {
  const bar = element("div", undefined, "bar");
  const heading = element("div", undefined, "heading");
  const close = element("button", "×", "plain close");
  close.type = "button";
  close.setAttribute("aria-label", "关闭");
  close.addEventListener("click", shut);
  heading.append(element("h2", found.title || "（无标题）"), close);
  const who = [found.submitter.name, found.submitter.sector].filter(Boolean).join("，");
  const facts = [found.standing.number, `${found.source} ${found.external_id}`, found.received_at ? found.received_at.slice(0, 10) : "日期不详",
    found.district, who, found.standing.state].filter(Boolean).join(" · ");
  bar.append(heading, element("div", facts, "small"), stepButtons(found));
  return bar;
}

function warnings(found) {
  const { urgent, reason } = found.analysis;
  const nodes = [];
  if (urgent) nodes.push(element("p", `可能紧急：“${urgent.text}”`, "urgent"));
  if (reason && !found.corrected) nodes.push(element("p", reason, "reason"));
  return nodes;
}

function line(list, name, ...nodes) {
  const value = element("dd");
  value.append(...nodes);
  list.append(element("dt", name), value);
}

function proposal(found) {
  const list = element("dl", undefined, "proposal");
  const sure = found.corrected ? "人工判定" : `${percent(found.confidence)}，把握${levelOf(found.confidence)}`;
  line(list, "主题", element("strong", themeName(found.primary)), ` ${found.matter ? matterName(found.matter) : ""} `, element("span", sure, "muted"));
  if (found.secondary && found.secondary.length) line(list, "兼涉", found.secondary.map(themeName).join("、"));
  const { standing, routing } = found;
  if (standing.lead_unit) {
    line(list, "主办", element("strong", standing.lead_unit), standing.support_units.length ? ` 协办：${standing.support_units.join("、")}` : "");
    if (standing.due) line(list, "时限", standing.due);
  } else if (routing) {
    const support = routing.support.length ? ` 协办：${routing.support.map((u) => u.name).join("、")}` : "";
    line(list, "拟办", element("strong", routing.lead ? routing.lead.name : "请人工判断"), support, " ",
      element("span", routing.lead ? `把握${routing.confidence}` : "", "muted"));
    const notice = element("a", "转办依据");
    notice.href = `/v1/submissions/${found.id}/routing/notice?format=html`;
    line(list, "理由", `${routing.reason} `, notice);
  }
  if (standing.returned_by.length) line(list, "退过单", standing.returned_by.join("、"));
  return list;
}

function textOf(found) {
  const spans = found.analysis.evidence.map((s, i) => ({
    ...s, tag: "mark", className: i === 0 ? "evidence top" : "evidence", hint: `${themeName(s.theme)} 依据，权重 ${s.weight.toFixed(2)}`,
  }));
  if (found.analysis.urgent) spans.push({ ...found.analysis.urgent, tag: "span", className: "alarm", hint: "疑似紧急" });
  const box = element("div", undefined, "text");
  if (found.title) {
    const heading = element("h4");
    mark(heading, "title", found.title, spans);
    box.append(heading);
  }
  mark(box, "text", found.text, spans);
  return [element("h3", "原文与依据"), box];
}

function themesOf(found) {
  const bars = element("ol", undefined, "bars few");
  bars.append(...found.analysis.themes.slice(0, 4).map(({ theme, probability }, i) => {
    const row = element("li", undefined, i === 0 ? "first" : "");
    const bar = Object.assign(element("progress"), { max: 1, value: probability });
    bar.setAttribute("aria-label", themeName(theme));
    row.append(element("span", themeName(theme)), bar, element("span", percent(probability)));
    return row;
  }));
  return [element("h3", "机器判断的主题"), bars];
}

function nearBox(found) {
  const box = element("div");
  const list = element("div", "正在查找…", "muted");
  list.id = "near";
  box.append(element("h3", "以前提过吗"), ...relations(found), list);
  return box;
}

function relations(found) {
  const told = [];
  if (found.case !== null) told.push(`已在并案 ${found.case} 中`);
  if (found.follows !== null) told.push(`是 ${found.follows} 号的续报`);
  if (found.followed_by.length) told.push(`它的续报：${found.followed_by.join("、")} 号`);
  return told.length ? [element("p", `${told.join("；")}。`)] : [];
}

function showNear(near) {
  const list = $("near");
  list.className = near.length ? "" : "muted";
  list.replaceChildren(...(near.length ? near.map(nearCard) : ["没有判为重复或相关的。"]));
}

const nearName = (one) => one.standing.number || one.external_id;

function sideBySide(a, b, className) {
  const pair = element("div", undefined, className);
  for (const [name, text] of [["本件", a], ["该件", b]]) {
    const side = element("div");
    side.append(element("span", name, "small"), text);
    pair.append(side);
  }
  return pair;
}

function nearCard(one) {
  const card = element("div", undefined, "near");
  const head = element("div", undefined, "head");
  head.append(element("strong", one.title || one.text.slice(0, 40)), element("span", `${grades[one.relation]} ${percent(one.probability[one.relation])}`, `grade ${one.relation}`));
  const day = one.received_at ? one.received_at.slice(0, 10) : "日期不详";
  const facts = [nearName(one), one.source, day, one.standing.state, one.standing.lead_unit, one.case !== null ? `并案 ${one.case}` : null,
    one.same_submitter ? "同一反映人" : null];
  card.append(head, element("div", facts.filter(Boolean).join(" · "), "small"));
  for (const c of one.conflicts) card.append(element("div", `${kinds[c.kind]}不同：本件“${c.a}”，该件“${c.b}”`, "conflict"));
  for (const pair of one.shared.slice(0, 2)) card.append(sideBySide(pair.a_text, pair.b_text, "pair"));
  const whole = element("details");
  whole.append(element("summary", "全文对照"), sideBySide(inbox.open.text, one.text, "pair whole"));
  card.append(whole);
  if (mayAct() && one.relation === "duplicate" && inbox.open.case === null) {
    const button = element("button", one.same_submitter ? "登记为续报" : one.case !== null ? `并入并案 ${one.case}` : "与它并案", "plain");
    button.type = "button";
    button.addEventListener("click", () => begin("merge", one.id));
    const buttons = element("div", undefined, "buttons");
    buttons.append(button);
    card.append(buttons);
  }
  return card;
}

function historyOf(found) {
  const list = element("ol", undefined, "timeline");
  list.append(...found.timeline.map((event) => {
    const row = element("li");
    const what = element("span", `${event.actor}　${event.what}`);
    if (event.reason) what.append(element("span", `（${event.reason}）`, "muted"));
    row.append(element("time", event.at), what);
    return row;
  }));
  return [...(found.replies.length ? [element("h3", "答复"), ...found.replies.map((text) => element("p", text))] : []),
    element("h3", "经过"), list,
    element("p", `现为“${found.standing.state}”，可以：${found.standing.possible.map((step) => step.name).join("、") || "无"}。`, "small")];
}

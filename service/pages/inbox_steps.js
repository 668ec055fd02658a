"use strict";
// What a clerk does with a submission. Each step is signed, and taken only on what the clerk has seen (If-Match).

const STEPS = {
  confirm: { name: "确认转办", key: "a", kind: "routed", run: confirmIt },
  correct: { name: "修改", key: "e", kind: null, run: correctIt },
  return: { name: "退回", key: "r", kind: "returned", run: (signed) => returnIt(signed, "returned", "退回反映人", "退回") },
  keep: { name: "留存", key: "c", kind: "kept", run: (signed) => returnIt(signed, "kept", "留存", "留存") },
  merge: { name: "并案", key: "m", kind: null, run: mergeIt },
};
const REASONS = {
  returned: ["内容空泛，请补充时间、地点和具体情况", "不属本级职责范围", "属个人事项，请走信访或投诉渠道", "涉法涉诉，请依法律程序解决"],
  kept: ["供参阅，暂不转办", "已在办理中，留存备查", "建议类，汇总后统一研究"],
};

// -- who acts

const NAME = "minsheng-actor";

function showClerk() {
  const name = sessionStorage.getItem(NAME);
  $("clerk").hidden = inbox.caller.page || !name;
  $("actor").textContent = name || "";
}

// The name to sign with: undefined where the log-in tells it; null where the clerk gave none.
async function actor() {
  if (inbox.caller.page) return undefined;
  if (!sessionStorage.getItem(NAME)) await rename();
  return sessionStorage.getItem(NAME);
}

async function rename() {
  const form = await prompt_("naming", (fields) => { fields.actor.value = sessionStorage.getItem(NAME) || ""; });
  if (form && form.actor.value.trim()) sessionStorage.setItem(NAME, form.actor.value.trim());
  showClerk();
}

// Shows a dialog; its form's fields once it is confirmed, null where it is left.
function prompt_(id, prepare) {
  const dialog = $(id), form = dialog.querySelector("form");
  form.reset();
  dialog.returnValue = "";
  prepare(form.elements, form);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "ok" ? form.elements : null), { once: true });
  });
}

// -- steps

const possible = (found, kind) => kind === null || found.standing.possible.some((step) => step.kind === kind);
// A merged one has no second case to go to; a closed one is not corrected here.
function offered(found, name) {
  if (!mayAct()) return false;
  if (name === "return" || name === "keep") return isWaiting(found) && possible(found, STEPS[name].kind);
  if (name === "merge") return found.case === null && found.follows === null;
  return possible(found, STEPS[name].kind) && found.standing.state !== "已撤回";
}

function stepButtons(found) {
  const box = element("div", undefined, "buttons");
  for (const [name, step] of Object.entries(STEPS)) {
    const button = element("button", `${name === "confirm" && !isWaiting(found) ? "改派" : step.name} `, name === "confirm" ? "" : "plain");
    button.type = "button";
    button.dataset.step = name;
    button.disabled = !offered(found, name);
    button.append(element("kbd", step.key));
    button.addEventListener("click", () => begin(name));
    box.append(button);
  }
  return box;
}

async function begin(name, ...given) {
  if (begin.busy || inbox.selected === null) return;
  begin.busy = true;
  try {
    if (!inbox.open || inbox.open.id !== inbox.selected) await openItem(inbox.selected);
    if (!inbox.open || !offered(inbox.open, name)) {
      say(mayAct() ? `这件现在不能“${STEPS[name].name}”。` : "您的角色只能查看。", { bad: true });
      return;
    }
    const signed = await actor();
    if (signed === null) return;
    const done = await STEPS[name].run(signed, ...given);
    if (!done) return;
    if (done.undo) inbox.undo.push({ id: inbox.open.id, ...done });
    await goOn(inbox.open.id);
    say(done.text, { undo: Boolean(done.undo) });
  } catch (error) {
    await failed(error);
  } finally {
    begin.busy = false;
  }
}

// Somebody else was faster: read again, and let the clerk look once more.
async function failed(error) {
  if (error.status !== 412) {
    fail(error);
    return;
  }
  const { id } = inbox.open;
  await load();
  await openItem(id);
  say("这件刚刚有了新的变动，已重新读取，请再看一遍。", { bad: true });
}

// After a step: what it took off the list makes room for the next one.
async function goOn(id) {
  const ids = inbox.items.filter(visible).map((item) => item.id);
  const next = ids.slice(ids.indexOf(id)).concat(ids.slice(0, ids.indexOf(id)).reverse());
  await load();
  const here = new Set(inbox.items.filter(visible).map((item) => item.id));
  const follow = next.find((one) => here.has(one));
  if (follow === undefined) shut();
  else await openItem(follow);
}

async function send(path, body, etag = inbox.open.etag) {
  return ask(path, body, { method: "POST", headers: etag ? { "If-Match": etag } : {} });
}

const step = (id, body, etag) => send(`/v1/submissions/${id}/events`, body, etag);
const nameOf = (found) => found.standing.number || found.external_id;
const subject = (form, found) => { form.querySelector(".subject").textContent = `${nameOf(found)} ${found.title || found.text.slice(0, 40)}`; };

function chips(form, name, texts) {
  const box = form.querySelector(`.chips[data-for=${name}]`);
  box.replaceChildren(...texts.map((text) => {
    const chip = element("button", text);
    chip.type = "button";
    chip.addEventListener("click", () => {
      const field = form.elements[name];
      field.value = text;
      field.dispatchEvent(new Event("input"));
      field.focus();
    });
    return chip;
  }));
}

// Taken back by the step that brings it to the front again; only where nothing has happened since.
const reopen = (signed, { id, etag, members, was }) => async () => {
  await step(id, { kind: "reopened", actor: signed, reason: "撤销上一步", members }, etag);
  return was;
};

async function confirmIt(signed) {
  const found = inbox.open, routing = found.routing;
  const proposed = found.standing.lead_unit || (routing && routing.lead ? routing.lead.name : "");
  const row = chosen();
  const leads = Boolean(row && row.case !== null && row.lead === found.id);
  const fields = await prompt_("confirming", (all, form) => {
    subject(form, found);
    all.unit.value = proposed;
    all.support.value = found.standing.lead_unit ? found.standing.support_units.join("、") : routing ? routing.support.map((u) => u.name).join("、") : "";
    options(all.category, inbox.categories.map((c) => [c, c]), "不填");
    all.category.value = found.standing.category || categoryOf(found);
    const why = Array.from(routing && routing.lead ? routing.reason : "").slice(0, 500).join("");
    all.reason.value = why;
    // The machine's reason is for the machine's unit: another one needs the clerk's own.
    all.unit.oninput = () => {
      const own = all.unit.value.trim();
      if (own !== proposed && all.reason.value === why) all.reason.value = "";
      if (own === proposed && !all.reason.value) all.reason.value = why;
      all.support.value = all.support.value.split("、").filter((name) => name !== own).join("、");
    };
    chips(form, "unit", routing ? routing.alternatives.map((one) => one.name).filter((name) => name !== proposed) : []);
    form.querySelector(".override").hidden = !found.standing.returned_by.length;
    form.querySelector(".members").hidden = !leads;
    setTimeout(() => (proposed ? form.querySelector("[value=ok]") : all.unit).focus());
  });
  if (!fields) return null;
  const unit = fields.unit.value.trim(), reason = fields.reason.value.trim(), members = leads && fields.members.checked;
  let { etag } = found;
  if (proposed && unit !== proposed && isWaiting(found)) {  // people chose another unit: kept as what the machine should have said
    ({ etag } = await send(`/v1/submissions/${found.id}/correction`, { actor: signed, reason, unit }, etag));
  }
  const body = { kind: "routed", actor: signed, reason, unit, members, support: fields.support.value.split(/[、，,;；\s]+/).filter(Boolean) };
  if (fields.category.value) body.category = fields.category.value;
  if (fields.override.value.trim()) body.override = fields.override.value.trim();
  const sent = await step(found.id, body, etag);
  const count = sent.answer.applied.length;
  const { number, due } = sent.answer.standing;
  return {
    text: `${number} 已转办至${unit}${count > 1 ? `（并案 ${count} 件）` : ""}，时限 ${due}`,
    undo: reopen(signed, { id: found.id, etag: sent.etag, members, was: `${number} 已撤回转办，回到待审核` }),
  };
}

// What kind of request the machine takes it for, where it says so.
function categoryOf(found) {
  const type = found.analysis.request_type;
  return type && inbox.categories.includes(type) ? type : "";
}

async function correctIt(signed) {
  const found = inbox.open;
  const fields = await prompt_("correcting", (all, form) => {
    subject(form, found);
    options(all.theme, [...taxonomy.themes], "");
    all.theme.querySelector("[value='']").remove();
    all.theme.value = found.primary;
    const matters = () => options(all.matter, [...taxonomy.matters].filter(([id]) => taxonomy.themeOf.get(id) === all.theme.value), "未定");
    matters();
    all.matter.value = found.matter || "";
    all.theme.onchange = () => { all.matter.value = ""; matters(); all.matter.value = ""; };
    setTimeout(() => all.theme.focus());
  });
  if (!fields) return null;
  const body = { actor: signed, reason: fields.reason.value.trim() };
  if (fields.matter.value && fields.matter.value !== found.matter) body.matter = fields.matter.value;
  else if (fields.theme.value !== found.primary) body.theme = fields.theme.value;
  if (fields.unit.value.trim()) body.unit = fields.unit.value.trim();
  const judged = body.theme || body.matter;
  if (!judged && !body.unit) body.theme = found.primary;  // looked at, and found right
  const path = `/v1/submissions/${found.id}/correction`;
  const sent = await send(path, body);
  const back = found.matter ? { matter: found.matter } : { theme: found.primary };
  return {
    text: `${nameOf(found)} 已修改${body.unit ? "；单位的修改请再改一次来更正" : ""}`,
    undo: body.unit || !judged ? null : async () => {
      await send(path, { actor: signed, reason: "撤销上一步", ...back }, sent.etag);
      return `${nameOf(found)} 已改回${themeName(found.primary)}`;
    },
  };
}

async function returnIt(signed, kind, title, verb) {
  const found = inbox.open;
  const fields = await prompt_("returning", (all, form) => {
    subject(form, found);
    form.querySelector("h2").textContent = title;
    form.querySelector("[value=ok]").textContent = verb;
    chips(form, "reason", REASONS[kind]);
    setTimeout(() => all.reason.focus());
  });
  if (!fields) return null;
  const sent = await step(found.id, { kind, actor: signed, reason: fields.reason.value.trim() });
  const { number } = sent.answer.standing;
  return { text: `${number} 已${verb}`, undo: reopen(signed, { id: found.id, etag: sent.etag, was: `${number} 回到待审核` }) };
}

async function mergeIt(signed, wanted) {
  const found = inbox.open;
  const near = await nearOf(found.id);
  if (!near.length) throw new Error("没有可以并案的相近材料");
  const fields = await prompt_("merging", (all, form) => {
    subject(form, found);
    const first = near.some((one) => one.id === wanted) ? wanted : near[0].id;
    form.querySelector("fieldset").replaceChildren(...near.map((one) => {
      const label = element("label"), radio = Object.assign(element("input"), { type: "radio", name: "into", value: one.id, checked: one.id === first });
      const told = element("span");
      const into = one.same_submitter && one.relation === "duplicate" ? "（同一反映人：登记为续报）" : one.case !== null ? `（并入并案 ${one.case}）` : "";
      told.append(element("strong", one.title || one.text.slice(0, 40)), ` ${into}`,
        element("div", `${nearName(one)} · ${grades[one.relation]} ${percent(one.probability[one.relation])}${one.conflicts.map((c) => ` · ${kinds[c.kind]}不同：${c.a} / ${c.b}`).join("")}`, "small"));
      label.append(radio, told);
      return label;
    }));
    all.reason.value = "同一件事";
    setTimeout(() => form.querySelector("input:checked").focus());
  });
  if (!fields) return null;
  const one = near.find((other) => String(other.id) === fields.into.value);
  const { etag } = await ask(`/v1/submissions/${found.id}`);
  if (etag !== found.etag) throw Object.assign(new Error("已有新的变动"), { status: 412 });
  return one.same_submitter && one.relation === "duplicate" ? followIt(signed, found, one, fields.reason.value.trim())
    : joinIt(signed, found, one, fields.reason.value.trim());
}

async function followIt(signed, found, one, reason) {
  await call(`/v1/submissions/${found.id}/follows`, { actor: signed, reason, earlier: one.id });
  return {
    text: `${nameOf(found)} 已登记为 ${nearName(one)} 的续报`,
    undo: async () => {
      await call(`/v1/submissions/${found.id}/follows/undo`, { actor: signed, reason: "撤销上一步" });
      return `${nameOf(found)} 已解除续报`;
    },
  };
}

async function joinIt(signed, found, one, reason) {
  const older = (a, b) => (a.received_at || "9") < (b.received_at || "9") || ((a.received_at || "") === (b.received_at || "") && a.id < b.id);
  const lead = older(found, one) ? found.id : one.id;
  const made = one.case !== null
    ? await call(`/v1/cases/${one.case}/members`, { actor: signed, reason, members: [found.id] })
    : await call("/v1/cases", { actor: signed, reason, lead, members: [found.id, one.id] });
  inbox.near.clear();  // what is in which case has changed
  return {
    text: `${nameOf(found)} 已与 ${nearName(one)} 并案（并案 ${made.id}，${made.count} 件）`,
    undo: async () => {
      const only = one.case !== null ? { member: found.id } : {};
      await call(`/v1/cases/${made.id}/undo`, { actor: signed, reason: "撤销上一步", ...only });
      inbox.near.clear();
      return `${nameOf(found)} 已撤出并案 ${made.id}`;
    },
  };
}

async function undo() {
  const last = inbox.undo.pop();
  if (!last || begin.busy) {
    say(last ? "请稍候。" : "没有可以撤销的一步。");
    if (last) inbox.undo.push(last);
    return;
  }
  begin.busy = true;
  try {
    const told = await last.undo();
    await load();
    if (inbox.items.some((item) => item.id === last.id)) await openItem(last.id);
    say(told, { undo: inbox.undo.length > 0 });
  } catch (error) {
    say(error.status === 412 ? "之后又有了新的变动，这一步不能再撤销。" : `未能撤销：${error.message}`, { bad: true });
  } finally {
    begin.busy = false;
  }
}

// The table of units, where this installation has one: names to choose from.
async function loadUnits() {
  try {
    inbox.units = (await call("/v1/units")).items;
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  $("units").replaceChildren(...inbox.units.map((unit) => Object.assign(element("option"), { value: unit.name })));
}

$("rename").addEventListener("click", rename);

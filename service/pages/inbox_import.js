"use strict";
// Import of a file or of pasted text: read, shown as understood, confirmed, then followed to its end.

const FIELD_NAMES = {
  text: "正文", title: "标题", received_at: "收到日期", external_id: "编号", source: "来源", district: "区（市、县）", address: "地址",
  name: "反映人", phone: "联系电话", party: "党派", sector: "界别", kind: "反映人类型", reply: "答复", replied_at: "答复时间",
};
const POLL = 500;

function uploaded() {
  const { file, text, source, column } = $("upload").elements;
  const form = new FormData();
  if (file.files.length) form.set("file", file.files[0]);
  else form.set("text", text.value);
  if (source.value.trim()) form.set("source", source.value.trim());
  const chosenColumns = [...$("preview").querySelectorAll("select")].filter((one) => one.value).map((one) => `${one.name}=${one.value}`);
  if (!chosenColumns.length && column.value.trim()) chosenColumns.push(`text=${column.value.trim()}`);
  if (chosenColumns.length && file.files.length) form.set("mapping", chosenColumns.join(","));
  return form;
}

// Which of the three parts of the dialog is in use.
function at(part) {
  $("preview").hidden = part !== "preview";
  $("go").hidden = part !== "preview";
  $("job").hidden = part !== "job";
  $("upload").hidden = part === "job";
  const file = $("upload").elements.file.files.length > 0;
  for (const node of $("upload").querySelectorAll(".paste")) node.hidden = part === "preview" && file;
}

function importError(error) {
  $("import-error").textContent = error ? `未能读取：${error.message}` : "";
  $("import-error").hidden = !error;
}

async function readUpload(event) {
  if (event) event.preventDefault();
  const button = $("upload").querySelector("button");
  const { file, text, column } = $("upload").elements;
  importError(null);
  if (!file.files.length && !text.value.trim()) {
    importError(new Error("请选择文件，或粘贴文字"));
    return;
  }
  button.disabled = true;
  try {
    showReport(await call("/v1/imports/preview", uploaded()));
    column.parentElement.hidden = true;
  } catch (error) {
    $("preview").replaceChildren();
    at("upload");
    importError(error);
    if (error.message.includes("正文所在的列")) column.parentElement.hidden = false;
  } finally {
    button.disabled = false;
  }
}

function showReport(report) {
  const told = `读到 ${report.read} 件：新增 ${report.new}，更新 ${report.revised}，已有 ${report.unchanged}，不能导入 ${report.rejected}。`;
  const parts = [element("p", told)];
  if (report.kind === "table") parts.push(columnsOf(report));
  for (const note of report.notes) parts.push(element("p", note, "muted"));
  if (report.repeated) parts.push(element("p", `文件中有 ${report.repeated} 件与前面的相同。`, "muted"));
  if (report.undated) parts.push(element("p", `${report.undated} 件没有收到日期。`, "muted"));
  parts.push(scrolled(["行", "编号", "收到日期", "标题", "正文"],
    report.first.slice(0, 20).map((one) => [one.row, one.external_id.slice(0, 24), (one.received_at || "").slice(0, 10), one.title.slice(0, 40), one.text.slice(0, 80)])));
  if (report.rejects.length) {
    parts.push(element("p", "不能导入的：", "reason"), scrolled(["行", "字段", "原因"], report.rejects.map((one) => [one.row, FIELD_NAMES[one.field] || one.field, one.detail])));
  }
  const count = report.new + report.revised;
  $("preview").replaceChildren(...parts);
  at("preview");
  $("go").textContent = `导入 ${count} 件`;
  $("go").disabled = report.read === report.rejected;
  $("go").focus();
}

// Which column is which, as guessed; a change is read again at once.
function columnsOf(report) {
  const box = element("div", undefined, "columns");
  for (const [field, name] of Object.entries(FIELD_NAMES)) {
    const column = report.columns[field];
    if (!column && !report.unmapped.length) continue;
    const label = element("label", name, column ? "" : "missing");
    const select = Object.assign(element("select"), { name: field });
    const names = column ? [column, ...report.unmapped] : ["", ...report.unmapped];
    select.replaceChildren(...names.map((text) => Object.assign(element("option", text || "（没有）"), { value: text })));
    select.addEventListener("change", () => readUpload());
    label.append(select);
    box.append(label);
  }
  return box;
}

function scrolled(heads, lines) {
  const box = element("div", undefined, "scroll");
  box.append(table(heads, lines));
  return box;
}

async function startImport() {
  const signed = await actor();
  if (signed === null) return;
  const form = uploaded();
  if (signed) form.set("actor", signed);
  $("go").disabled = true;
  importError(null);
  try {
    await follow(await call("/v1/imports", form));
  } catch (error) {
    at("preview");
    importError(error);
    $("go").disabled = false;
  }
}

async function follow(job) {
  const [told, bar] = $("job").children;
  at("job");
  while (job.state === "queued" || job.state === "running") {
    told.textContent = `正在登记、分析 ${job.done}/${job.total} …`;
    bar.value = job.total ? job.done / job.total : 0;
    await new Promise((done) => { setTimeout(done, POLL); });
    job = await call(`/v1/imports/${job.id}`);
  }
  bar.value = 1;
  inbox.near.clear();
  await load();
  if (job.state !== "done") throw new Error(job.error || "导入已取消");
  told.textContent = `已导入：新增 ${job.new}，更新 ${job.revised}，已有 ${job.unchanged}，不能导入 ${job.rejected}。 `;
  if (job.rejected) {
    const link = element("a", "下载退件表（改正后可再导入）");
    link.href = `/v1/imports/${job.id}/rejects`;
    told.append(link);
  } else {
    $("importing").close();
    say(told.textContent);
  }
}

function freshImport() {
  $("upload").reset();
  $("upload").elements.column.parentElement.hidden = true;
  $("preview").replaceChildren();
  at("upload");
  importError(null);
  $("importing").showModal();
}

$("import").addEventListener("click", freshImport);
$("upload").addEventListener("submit", readUpload);
$("upload").elements.file.addEventListener("change", () => { $("preview").replaceChildren(); readUpload(); });
$("go").addEventListener("click", startImport);
$("leave").addEventListener("click", () => $("importing").close());

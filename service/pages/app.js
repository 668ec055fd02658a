"use strict";
function showText(title, text, answer) {
  const names = { PLACE: "地点", UNIT: "单位", POLICY: "政策", FACILITY: "设施", DATE: "日期", NUMBER: "数字" };
  const spans = [
    ...answer.pii.map((s) => ({ ...s, tag: "span", className: "pii", hint: "个人信息" })),
    ...answer.entities.map((s) => ({
      ...s, tag: "span", className: `entity ${s.label}`,
      hint: [names[s.label] || s.label, s.canonical, s.district].filter(Boolean).join(" · "),
    })),
    ...answer.evidence.map((s, i) => ({
      ...s, tag: "mark", className: i === 0 ? "evidence top" : "evidence",
      hint: `${themeName(s.theme)} 依据，权重 ${s.weight.toFixed(2)}`,
    })),
  ];
  const box = $("marked");
  box.replaceChildren();
  if (title) {
    const heading = element("h3");
    mark(heading, "title", title, spans);
    box.append(heading);
  }
  mark(box, "text", text, spans);
}

function showAnswer(title, text, answer) {
  $("primary").textContent = themeName(answer.primary);
  $("matter").textContent = matterName(answer.matter);
  $("confidence").textContent = `${levelOf(answer.confidence)}（${percent(answer.confidence)}）`;
  $("decision").textContent = answer.decision === "accept" ? "建议采纳" : "需人工复核";
  $("decision").className = answer.decision;
  const flags = answer.flags.map(({ kind, channel }) => `${kind}，建议渠道：${channel}`);
  const second = answer.secondary.length ? `兼涉：${answer.secondary.map(themeName).join("、")}` : "";
  $("reason").textContent = [answer.reason, second, `诉求类型：${answer.request_type.kind}`, ...flags].filter(Boolean).join("。");
  $("urgent").hidden = !answer.urgent;
  $("urgent").textContent = answer.urgent ? `可能紧急：“${answer.urgent.span.text}”` : "";
  $("themes").replaceChildren(...answer.themes.map(({ theme, probability }, i) => {
    const row = element("li", undefined, i === 0 ? "first" : "");
    const bar = element("progress");
    bar.max = 1;
    bar.value = probability;
    bar.setAttribute("aria-label", themeName(theme));
    row.append(element("span", themeName(theme)), bar, element("span", percent(probability)));
    return row;
  }));
  showText(title, text, answer);
  $("keywords").textContent = answer.keywords.length ? `关键词：${answer.keywords.join("、")}` : "";
  $("evidence").replaceChildren(...(answer.evidence.length ? answer.evidence.map((e) => {
    const row = element("li");
    row.append(element("span", `−${e.weight.toFixed(2)}`), element("span", e.text));
    return row;
  }) : [element("li", "没有哪一句单独起决定作用。", "muted")]));
  $("model").textContent = `模型 ${answer.model}`;
}

function showSimilar(items) {
  $("similar").replaceChildren(...(items.length ? items.map((item) => {
    const row = element("li");
    row.append(element("span", item.score.toFixed(3), "score"), element("strong", item.title || "（无标题）"));
    if (item.relation) {
      const grade = element("span", `${grades[item.relation]} ${percent(item.probability[item.relation])}`, `grade ${item.relation}`);
      grade.title = Object.entries(item.probability).map(([k, p]) => `${grades[k]} ${percent(p)}`).join("，");
      row.append(grade);
    }
    const when = item.received_at ? item.received_at.slice(0, 10) : "日期不详";
    row.append(element("div", `${item.source} ${item.external_id} · ${when}`, "muted"));
    for (const conflict of item.conflicts) {
      row.append(element("div", `${kinds[conflict.kind]}不同：本件“${conflict.a}”，该件“${conflict.b}”`, "conflict"));
    }
    for (const pair of item.shared.slice(0, 2)) {
      const quote = element("blockquote");
      quote.append(element("div", `本件：${pair.a_text}`), element("div", `该件：${pair.b_text}`));
      row.append(quote);
    }
    return row;
  }) : [element("li", "还没有登记过材料，或没有相似的。", "muted")]));
}

async function analyse(event) {
  event.preventDefault();
  const title = $("title").value, text = $("text").value;
  const button = document.querySelector("button[type=submit]");
  if (button.disabled) return;  // Ctrl+Enter while the last one is still running
  button.disabled = true;
  $("error").hidden = true;
  try {
    const { items: [answer] } = await call("/v1/classify", { items: [{ title, text }] });
    if (answer.error) throw new Error(answer.error.detail);
    showAnswer(title, text, answer);
    $("similar").replaceChildren(element("li", "正在查找…", "muted"));
    $("result").hidden = false;
    showSimilar((await call("/v1/similar", { title, text, limit: 5 })).items);
    $("result").dataset.done = String(Number($("result").dataset.done || 0) + 1);
  } catch (error) {
    $("error").textContent = `未能完成：${error.message}`;
    $("error").hidden = false;
    $("similar").replaceChildren();
  } finally {
    button.disabled = false;
  }
}

async function start() {
  try {
    await showCaller();
    await loadTaxonomy();
    const ready = await call("/readyz");
    $("state").textContent = `已就绪 · 已登记 ${ready.submissions} 件`;
  } catch (error) {
    $("state").textContent = `服务不可用：${error.message}`;
  }
}

$("form").addEventListener("submit", analyse);
$("form").addEventListener("reset", () => {
  $("result").hidden = true;
  $("error").hidden = true;
  $("count").textContent = "0 字";
});
$("text").addEventListener("input", () => { $("count").textContent = `${Array.from($("text").value).length} 字`; });
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
start();

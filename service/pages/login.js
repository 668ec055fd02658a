"use strict";

const form = document.getElementById("form"), error = document.getElementById("error");

async function logIn(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  error.hidden = true;
  try {
    const response = await fetch("/login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ key: form.key.value }),
    });
    if (!response.ok) {
      const answer = await response.json();
      throw new Error(answer.detail || answer.title || `HTTP ${response.status}`);
    }
    location.replace("/");
  } catch (problem) {
    error.textContent = `未能登录：${problem.message}`;
    error.hidden = false;
    form.key.select();
  } finally {
    button.disabled = false;
  }
}

form.addEventListener("submit", logIn);
fetch("/v1/me").then((response) => { if (response.ok) location.replace("/"); }).catch(() => {});

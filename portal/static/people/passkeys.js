// Passkeys (WebAuthn Level 3). Without this file, or in a browser that knows none, the password form is all there is.
// <button data-passkey="enter|add" data-options="…" data-answer="…" data-csrf="…" data-next="…" data-trouble="…" hidden>

const buttons = document.querySelectorAll("[data-passkey]");

async function send(address, csrf, body) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf },
    body: JSON.stringify(body),
  });
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.title);
  return document;
}

async function run(button) {
  const { passkey, options, answer, csrf, next } = button.dataset;
  const asked = await send(options, csrf, {});
  const credential =
    passkey === "add"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
  const name = document.getElementById("passkey_name")?.value ?? "";
  const done = await send(answer, csrf, { answer: credential.toJSON(), next, name });
  window.location.assign(done.next);
}

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const button of buttons) {
    const place = button.closest("[data-passkey-place]") ?? button;
    const trouble = place.querySelector("[data-passkey-trouble]");
    place.hidden = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      trouble.hidden = true;
      try {
        await run(button);
      } catch (error) {
        if (error.name === "NotAllowedError" || error.name === "AbortError") {
          trouble.textContent = button.dataset.cancelled;
        } else {
          trouble.textContent = error.name === "Error" ? error.message : button.dataset.trouble;
        }
        trouble.hidden = false;
        button.disabled = false;
      }
    });
  }
}

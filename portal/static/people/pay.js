// Stripe's script draws the card's fields and turns them into a token; the number never reaches this site.

const form = document.querySelector("[data-pay]");
const question = document.querySelector("[data-bank]");

function explain(place, text) {
  place.textContent = text;
  place.hidden = false;
}

if (form && window.Stripe) {
  const stripe = window.Stripe(form.dataset.key);
  const card = stripe.elements().create("card", { hidePostalCode: true });
  const trouble = form.querySelector("[data-trouble]");
  card.mount("#card-element");
  for (const input of form.querySelectorAll("#card-element input")) {
    input.classList.add("govuk-input");
    const label = form.dataset[`label_${input.placeholder}`] ?? input.placeholder;
    input.setAttribute("aria-label", label);
    input.placeholder = label;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    trouble.hidden = true;
    let answer;
    try {
      answer = await stripe.createToken(card);
    } catch {
      answer = { error: {} };
    }
    if (answer.token) {
      form.elements.token.value = answer.token.id;
      form.submit();
      return;
    }
    explain(trouble, form.dataset.wrong);
    button.disabled = false;
  });
}

if (question && window.Stripe) {
  const trouble = question.querySelector("[data-trouble]");
  const button = question.querySelector("button");
  question.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    const { error } = await window.Stripe(question.dataset.key).confirmCardPayment(question.dataset.secret);
    if (error) {
      explain(trouble, question.dataset.wrong);
      button.disabled = false;
    } else {
      window.location.reload();
    }
  });
}

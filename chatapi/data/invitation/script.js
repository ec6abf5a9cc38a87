"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const [form, password, again, send, said] = ["form", "password", "again", "send", "said"].map(find);
  const invitation = location.hash.slice(1);
  history.replaceState(null, "", location.pathname); // neither the address bar nor the history keeps the secret
  const say = (text) => { said.textContent = text; };

  if (!invitation) {
    say("This link is not whole. Open the link that you were given, or ask for another one.");
    return;
  }
  say("");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (password.value !== again.value) {
      say("The two passwords are not the same.");
      return;
    }
    send.disabled = true;
    say("One moment …");
    try {
      const answer = await fetch("invitations", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ invitation, password: password.value }),
        credentials: "omit",
        referrerPolicy: "no-referrer",
      });
      if (answer.status === 204) {
        form.remove();
        say("Your password is set. You can log in with it now.");
        return;
      }
      const problem = await answer.json();
      say(problem.detail || "That did not work. Please try again.");
    } catch {
      say("The service could not be reached. Please try again.");
    }
    send.disabled = false;
  });
})();

// Signs in by the one-time link /sign-in#SECRET: the form posts the secret.
"use strict";

const secret = location.hash.slice(1);
if (secret) {
  // Neither bookmarked nor copied with the address: it is spent now.
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.querySelector("form.sign-in");
  form.elements.link.value = secret;
  form.submit();
}

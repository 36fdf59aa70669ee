// Keeps the status part of the page fresh from the API's event stream.
"use strict";
const live = document.getElementById("live");
const stale = document.getElementById("stale");
const events = new EventSource("/api/v1/events");
events.addEventListener("status", (event) => {
  live.innerHTML = event.data;
  stale.hidden = true;
});
events.addEventListener("error", () => {
  stale.hidden = false;
  // A closed stream means the sign-in has ended; the page will ask for it.
  if (events.readyState === EventSource.CLOSED) location.reload();
});

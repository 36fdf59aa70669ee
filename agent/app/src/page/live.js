// Keeps the status part of the page fresh from the API's event stream.
"use strict";
follow("events", {
  status: (drawn) => {
    by("live").innerHTML = drawn;
  },
});

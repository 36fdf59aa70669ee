//! What is stored stays readable: samples of version 1, and a clear word on anything newer.

//! The exporter through its port, with real NBD clients and with bytes that no client would send.

mod accounts;
mod clients;
mod crowd;
mod detach;
mod hostile;
mod served;

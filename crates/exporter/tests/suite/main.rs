//! The exporter through its port, with real NBD clients and with bytes that no client would send.

mod access;
mod accounts;
mod certificates;
mod clients;
mod crowd;
mod detach;
mod hostile;
mod pipelined;
mod plane;
mod protocol;
mod psk;
mod served;
mod tls;

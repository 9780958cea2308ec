//! The real binary, over real HTTP, on real files, with real NBD clients; killed and restarted halfway.

mod data;
mod drift;
mod events;
mod hung;
mod life;
mod local;
mod plane;

mod readme;
mod reliability;
mod rows;
mod secured;
mod server;
mod storm;
mod trouble;
mod watch;

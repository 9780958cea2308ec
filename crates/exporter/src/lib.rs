//! The data plane: an NBD server that knows who is connected.
//!
//! - `protocol`: the words of the wire, pure; `handshake` and `session`: one connection, on threads of its own;
//! - `exports`: what is exported, to whom, and who is connected; `account`: what each of them did; `ending`: how an export ends by force; `replaced`: whether it is still the volume's file;
//! - `peer`: who a client is and what it may reach; `names`: what exports are called on the wire; `limits`: how many clients; `seldom`: what the log is told of them;
//! - `socket`, `socket_file`, `secured`, `tls`, `x509` and `psk`: a client's connection, plain or encrypted;
//! - `storage`: the bytes; `occupied`: one thread a backing; `buffers`: memory for bytes on their way; `server`: listeners; `port`: the engine's port on all that;
//! - `plane`: all that as a process of its own, and the controller's end of it.
//!
//! The server knows nothing of the engine but the port's types.
//!
//! Invariants:
//! - an export is made, ended and seen under the registry's lock, right after the check that no newer call came;
//! - after a forced end has been told, no write is accepted and none is in flight;
//! - whatever one client sends, sends half, or does not read costs that client's connection only.

#![forbid(unsafe_code)]

mod account;
mod buffers;
mod ending;
mod exports;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod limits;
mod names;
mod occupied;
mod peer;
mod points;
mod port;
mod protocol;
#[cfg(feature = "tls-psk")]
mod psk;
mod replaced;
mod secured;
mod seldom;
mod server;
mod session;
mod socket;
mod socket_file;
mod storage;
mod tls;
mod x509;

pub mod plane;

pub use limits::raise_file_limit;
pub use names::NameKey;
pub use points::FAIL_POINTS;
pub use port::{NbdExporter, Options, StartError};
pub use tls::{TlsError, TlsOptions, TlsProof};

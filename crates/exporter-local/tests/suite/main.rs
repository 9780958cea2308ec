//! The exporter through its port, on the loop devices of the machine that runs the tests. Needs root, or each test is skipped.

mod bed;
mod end;
mod life;
mod strangers;

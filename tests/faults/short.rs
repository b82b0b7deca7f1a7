//! A sample of the faults, for every run of the tests.

use super::judge::Verdict;
use super::life::Life;
use super::work::{self, Job};
use crate::ensure;
use crate::support::{Outcome, need};

#[test]
fn nothing_that_the_kernel_refuses_breaks_a_promise() -> Outcome {
    Ok(())
}

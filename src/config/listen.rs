//! `--listen`: where others may ask how the app is.

use super::reader::Reader;
use crate::sys::listen::Address;

impl Reader<'_> {
    #[cold]
    pub(super) fn listen(&mut self) -> Vec<Address> {
        let addresses = self.each("listen", address);
        if self.has_failed("listen") {
            return addresses;
        }
        let found = self.all_known("listen").to_vec();
        for (index, found) in found.iter().enumerate() {
            if addresses.iter().take(index).any(|one| Some(one) == addresses.get(index)) {
                self.wrong("listen", found, "it is there twice; write it once");
            }
        }
        addresses
    }
}

/// `:9180` is what Prometheus and programs in Go call every address of both families.
fn address(text: &str) -> Result<Address, String> {
    let text = text.trim();
    let every = text.strip_prefix(':').filter(|rest| !rest.is_empty());
    match every.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(port) => Address::parse(&format!("[::]:{port}")),
        None => Address::parse(text),
    }
}

/// Whether others than this host can connect to it.
pub(super) fn is_open(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        Address::Unix(_) | Address::Abstract(_) => false,
    }
}

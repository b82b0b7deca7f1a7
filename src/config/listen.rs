//! `--listen`: where graceinit answers HTTP.

use super::reader::Reader;
use crate::cli::OptionId;
use crate::sys::listen::Address;

#[cold]
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Address> {
    let addresses = reader.each(OptionId::Listen, address);
    if reader.has_failed(OptionId::Listen) {
        return addresses;
    }
    let found = reader.all_known(OptionId::Listen).to_vec();
    for (index, found) in found.iter().enumerate() {
        if addresses.iter().take(index).any(|one| Some(one) == addresses.get(index)) {
            reader.wrong(OptionId::Listen, found, "it is given twice; give it once");
        }
    }
    addresses
}

/// `:9180` means every address of both families, as in Prometheus and in Go programs.
fn address(text: &str) -> Result<Address, String> {
    let text = text.trim();
    let every = text.strip_prefix(':').filter(|rest| !rest.is_empty());
    match every.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(port) => Address::parse(&format!("[::]:{port}")),
        None => Address::parse(text),
    }
}

/// Whether clients on other hosts can connect to the address.
pub(super) fn is_open(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        Address::Unix(_) | Address::Abstract(_) => false,
    }
}

//! C strings and lists of them, as execve(2) takes them, read without the C library.
//!
//! A [`CStr`] knows its length, which strlen(3) finds out. The early start runs before that function can be called, and
//! reads the strings that the kernel has put on the stack. So a [`Text`] is a pointer alone, and is read byte by byte.
//! Only the constructors from raw pointers are unsafe; all else follows from what they promise.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A terminated string that stays as it is for `'a`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Text<'a>(NonNull<u8>, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// The string at this address; `None` if the address is null.
    ///
    /// # Safety
    /// An address that is not null is that of a terminated string that is neither freed nor changed during `'a`.
    pub(super) unsafe fn from_raw(text: *const c_char) -> Option<Text<'a>> {
        NonNull::new(text.cast_mut().cast()).map(|text| Text(text, PhantomData))
    }

    /// The string that these bytes hold; `None` unless the last one is 0.
    #[cfg(feature = "early-start")]
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Option<Text<'a>> {
        matches!(bytes.last(), Some(0)).then(|| Text(NonNull::from(bytes).cast(), PhantomData))
    }

    /// Its address, for a system call.
    pub(super) fn address(self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Its first byte, 0 if it is empty.
    #[cfg(feature = "early-start")]
    pub(super) fn first(self) -> u8 {
        // SAFETY: a terminated string has one byte at least. The read is volatile, or the compiler would make a call
        // of strlen(3) of a loop over such reads.
        unsafe { self.0.read_volatile() }
    }

    /// The first byte and the string behind it; `None` if it is empty.
    #[cfg(feature = "early-start")]
    pub(super) fn split_first(self) -> Option<(u8, Text<'a>)> {
        let first = self.first();
        if first == 0 {
            return None;
        }
        // SAFETY: this byte is not the last of the string, so the next one belongs to the string as well.
        let rest = unsafe { self.0.add(1) };
        Some((first, Text(rest, PhantomData)))
    }
}

impl<'a> From<&'a CStr> for Text<'a> {
    fn from(text: &'a CStr) -> Text<'a> {
        Text(NonNull::from(text).cast(), PhantomData)
    }
}

/// A list of strings that ends with a null pointer, like argv and the environment. It stays as it is for `'a`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct List<'a>(*const Option<Text<'a>>);

impl<'a> List<'a> {
    /// The list at this address. A null address is an empty list.
    ///
    /// # Safety
    /// An address that is not null is that of an array of pointers, the last of which is null and all others as
    /// [`Text::from_raw`] wants them. The array is neither freed nor changed during `'a`.
    pub(super) unsafe fn from_raw(list: *const *const c_char) -> List<'a> {
        List(list.cast())
    }

    /// A list of these; `None` unless the last one is `None`, which is the null pointer at its end.
    pub(super) fn new(list: &'a [Option<Text<'a>>]) -> Option<List<'a>> {
        matches!(list.last(), Some(None)).then_some(List(list.as_ptr()))
    }

    /// Its address, for a system call.
    pub(super) fn address(self) -> usize {
        self.0 as usize
    }

    /// Its address.
    #[cfg(feature = "early-start")]
    pub(super) fn as_raw(self) -> *const *const c_char {
        self.0.cast()
    }

    /// Its first string and the list behind it; `None` if it is empty.
    #[cfg(feature = "early-start")]
    pub(super) fn split_first(self) -> Option<(Text<'a>, List<'a>)> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the array has one pointer at least, the null pointer at its end.
        let first = unsafe { *self.0 }?;
        // SAFETY: this pointer is not the last of the array.
        Some((first, List(unsafe { self.0.add(1) })))
    }
}

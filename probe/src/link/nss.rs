//! Keeps the image's name service modules out of the static binary.
//!
//! A static glibc loads the shared modules that `/etc/nsswitch.conf` names, built for the image's
//! own glibc. If that is another version, or a module starts threads, the process dies by a signal
//! without an answer. `files` and `dns` are built in since glibc 2.34, and need no module.

/// Makes names resolve by `/etc/hosts` and DNS alone, whatever `/etc/nsswitch.conf` says. To be
/// called before the first name is resolved.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(
    unsafe_code,
    reason = "glibc has no other way to say this, and Rust's standard library none at all"
)]
pub fn use_built_in_services() {
    use std::ffi::{c_char, c_int};
    use std::sync::Once;

    unsafe extern "C" {
        /// nss.h: replaces the services of one database for this process. Returns 0 or -1.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    static CONFIGURED: Once = Once::new();
    CONFIGURED.call_once(|| {
        // SAFETY: both texts end in NUL and live as long as the program, and glibc copies what it
        // keeps. No thread resolves names yet: everyone who does comes through here first.
        let failed = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        if failed != 0 {
            tracing::warn!("name service modules of this image can't be kept out");
        }
    });
}

/// A dynamic binary has the libc that the image's modules were built for.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn use_built_in_services() {}

//! Memory that is asked for before it is needed.

/// Has the processor fetch a cache line while it goes on; nothing where it cannot be told to.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    let at: *const u8 = std::ptr::from_ref(at).cast();
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing that the program could see, from an address that a reference vouches for; every x86-64
        // has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above; the instruction writes neither memory, nor the stack, nor flags.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = at;
}

//! The choice of a CPU feature level, made once.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "a kernel may run only where its instructions exist"
    )
)]

use std::sync::OnceLock;

use super::simd::{Kernel, Portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A CPU feature level, from the plainest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Whatever the compiler makes of plain Rust for the target.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Level {
    /// The name in [`engine`](crate::engine).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Portable => std::env::consts::ARCH,
            Level::Avx2 => "fma",
            Level::Avx512 => "avx512f",
        }
    }

    /// The values in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Level::Portable | Level::Avx2 => 8,
            Level::Avx512 => 16,
        }
    }

    /// The best that this machine has.
    fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::has_avx512() {
                return Level::Avx512;
            }
            if avx2::has_avx2() {
                return Level::Avx2;
            }
        }
        Level::Portable
    }

    /// What `ATOLL_CPU_LEVEL` asks for: `portable`, `avx2` or `avx512`.
    ///
    /// It can only lower the level: to compare levels, and to get the same bits on two
    /// machines of which one has less.
    fn limit() -> Self {
        match std::env::var("ATOLL_CPU_LEVEL").as_deref() {
            Ok("portable") => Level::Portable,
            Ok("avx2") => Level::Avx2,
            _ => Level::Avx512,
        }
    }
}

/// The level that kernels run at.
pub(crate) fn level() -> Level {
    static CHOSEN: OnceLock<Level> = OnceLock::new();
    let chosen = *CHOSEN.get_or_init(|| Level::detected().min(Level::limit()));
    #[cfg(test)]
    let chosen = chosen.min(forced::level());
    chosen
}

/// Runs a kernel at the level of this machine.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match level() {
        // SAFETY: `level` never exceeds what was detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run_avx2(kernel) },
        _ => kernel.run(Portable::new()),
    }
}

/// How a test makes its thread use a lower level.
#[cfg(test)]
pub(crate) mod forced {
    use super::Level;
    use std::cell::Cell;

    thread_local! {
        static LIMIT: Cell<Level> = const { Cell::new(Level::Avx512) };
    }

    pub(super) fn level() -> Level {
        LIMIT.get()
    }

    /// Calls `test` at each level up to that of this machine.
    pub(crate) fn at_each_level(mut test: impl FnMut(Level)) {
        for limit in [Level::Portable, Level::Avx2, Level::Avx512] {
            LIMIT.set(limit);
            if super::level() == limit {
                test(limit);
            }
        }
        LIMIT.set(Level::Avx512);
    }
}

//! The choice of vector instructions, made when the program runs.

/// Work that is compiled twice: for any processor, and for those with AVX2.
///
/// `run` and all that it calls per pixel must be inlined, or it is compiled once after all.
pub(crate) trait Work {
    type Output;

    /// `AVX2` says which of the two this is.
    fn run<const AVX2: bool>(self) -> Self::Output;
}

/// Does the work with all vector instructions that this machine has.
pub(crate) fn dispatch<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2") {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
        fn fast<W: Work>(work: W) -> W::Output {
            work.run::<true>()
        }
        #[expect(
            unsafe_code,
            reason = "the only way to call it from a general function"
        )]
        // SAFETY: every processor with AVX2 and BMI2 has BMI1 and LZCNT.
        return unsafe { fast(work) };
    }
    work.run::<false>()
}

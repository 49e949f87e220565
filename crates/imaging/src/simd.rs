//! The choice between portable code and AVX2, made when the program runs.

/// A computation that is compiled twice: for any processor, and for those with AVX2.
///
/// `run` and all that it calls for each pixel must be `#[inline(always)]`. What is not
/// inlined is compiled once, without the instructions.
pub(crate) trait SimdWork {
    type Output;

    /// Computes. `AVX2` says for which of the two processors this is compiled.
    fn run<const AVX2: bool>(self) -> Self::Output;
}

/// Runs the form of the computation that suits this machine.
pub(crate) fn dispatch<W: SimdWork>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("bmi2") {
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
        fn fast<W: SimdWork>(work: W) -> W::Output {
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

//! A condition on one argument of a call.

use std::fmt;

/// The most rules with conditions, counted per call. Each needs at least one BPF instruction, and the kernel loads
/// 4096 for one filter.
pub(super) const MAX_CONDITIONAL: usize = 4096;

/// Which of the six arguments, 0 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArgIndex(u8);

impl ArgIndex {
    /// All six.
    pub const ALL: &'static [Self] = &[Self(0), Self(1), Self(2), Self(3), Self(4), Self(5)];

    /// The first.
    pub const FIRST: Self = Self(0);

    /// `None` over 5.
    #[must_use]
    pub fn new(index: u64) -> Option<Self> {
        u8::try_from(index)
            .ok()
            .filter(|index| *index < 6)
            .map(Self)
    }

    /// 0 to 5.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The same, to index with.
    pub(super) const fn position(self) -> usize {
        self.0 as usize
    }
}

/// How an argument is compared, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `arg != value`
    NotEqual,
    /// `arg < value`
    Less,
    /// `arg <= value`
    LessOrEqual,
    /// `arg == value`
    Equal,
    /// `arg >= value`
    GreaterOrEqual,
    /// `arg > value`
    Greater,
    /// `arg & mask == value`
    MaskedEqual {
        /// The bits that are looked at: the runtime-spec's `value`. The condition's value is its `valueTwo`.
        mask: u64,
    },
}

impl Operator {
    pub(super) const NAMES: &'static [&'static str] = &[
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];

    /// The word of the runtime-spec.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEqual => "SCMP_CMP_NE",
            Self::Less => "SCMP_CMP_LT",
            Self::LessOrEqual => "SCMP_CMP_LE",
            Self::Equal => "SCMP_CMP_EQ",
            Self::GreaterOrEqual => "SCMP_CMP_GE",
            Self::Greater => "SCMP_CMP_GT",
            Self::MaskedEqual { .. } => "SCMP_CMP_MASKED_EQ",
        }
    }
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// The argument that is compared.
    pub arg: ArgIndex,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: u64,
}

impl Condition {
    /// Whether it is a masked comparison without a bit in its mask, which libseccomp takes for no condition.
    pub(super) fn looks_at_nothing(&self) -> bool {
        self.operator == Operator::MaskedEqual { mask: 0 }
    }

    /// A comparison with single values, of the lower `bits` bits only.
    pub(super) fn of_lower(self, bits: u32) -> Self {
        let most = of_bits(bits);
        match self.operator {
            Operator::Equal => Self {
                value: self.value & most,
                ..self
            },
            Operator::MaskedEqual { mask } if mask & most != 0 => Self {
                operator: Operator::MaskedEqual { mask: mask & most },
                value: self.value & most,
                ..self
            },
            _ => self,
        }
    }

    /// Whether it compares with a number that 32 bits cannot hold. Bits that a mask leaves out do not count.
    pub(super) fn is_wide(&self) -> bool {
        let looked_at = match self.operator {
            Operator::MaskedEqual { mask } => mask,
            _ => u64::MAX,
        };
        (self.value & looked_at) >> 32 != 0
    }
}

/// The largest number of so many bits.
pub(super) fn of_bits(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0)
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (arg, value) = (self.arg.get(), self.value);
        match self.operator {
            Operator::NotEqual => write!(f, "arg{arg} != {value}"),
            Operator::Less => write!(f, "arg{arg} < {value}"),
            Operator::LessOrEqual => write!(f, "arg{arg} <= {value}"),
            Operator::Equal => write!(f, "arg{arg} == {value}"),
            Operator::GreaterOrEqual => write!(f, "arg{arg} >= {value}"),
            Operator::Greater => write!(f, "arg{arg} > {value}"),
            Operator::MaskedEqual { mask } => write!(f, "arg{arg} & {mask:#x} == {value:#x}"),
        }
    }
}

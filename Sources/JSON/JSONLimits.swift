/// The bounds a document must keep to be read at all.
///
/// Every bound is checked while reading, so that a hostile document costs at most one pass over its bytes and
/// `valuesMax` times 16 bytes of memory. Source: SP 800-53 SC-5.
public struct JSONLimits: Hashable, Sendable {
    /// The longest document, in bytes.
    ///
    /// Default 16 MiB, range 1…4,294,967,294.
    public var bytesMax: Int

    /// The deepest nesting of arrays and objects.
    ///
    /// Default 64, range 0…512; a scalar document has depth 0.
    public var depthMax: Int

    /// The longest string value, in source bytes between the quotes.
    ///
    /// Default 16 MiB.
    public var stringBytesMax: Int

    /// The longest member name, in source bytes between the quotes.
    ///
    /// Default 4 KiB.
    public var keyBytesMax: Int

    /// The longest number lexeme, in bytes.
    ///
    /// Default 64.
    public var numberBytesMax: Int

    /// The most members of one object.
    ///
    /// Default 65,536, at most 67,108,863.
    public var membersMax: Int

    /// The most elements of one array.
    ///
    /// Default 1,048,576, at most 67,108,863.
    public var elementsMax: Int

    /// The most values and member names in the whole document.
    ///
    /// Default 1,048,576.
    public var valuesMax: Int

    /// Whether a string may contain U+0000.
    ///
    /// Default true: it is valid JSON.
    ///
    /// Turn it off where the text goes to software that ends strings at a zero byte.
    public var allowsNullCharacter: Bool

    /// Makes limits; what is not named keeps its default.
    public init(
        bytesMax: Int = 16 << 20,
        depthMax: Int = 64,
        stringBytesMax: Int = 16 << 20,
        keyBytesMax: Int = 4096,
        numberBytesMax: Int = 64,
        membersMax: Int = 1 << 16,
        elementsMax: Int = 1 << 20,
        valuesMax: Int = 1 << 20,
        allowsNullCharacter: Bool = true
    ) {
        // Positions are 32 bits, counts 26; readers and writers recurse once per level of nesting.
        precondition(bytesMax > 0 && bytesMax < Int(UInt32.max), "bytesMax must fit 32 bits")
        precondition(depthMax >= 0 && depthMax <= 512, "depthMax must be within 0…512")
        precondition(membersMax <= Node.countMax, "membersMax must fit 26 bits")
        precondition(elementsMax <= Node.countMax, "elementsMax must fit 26 bits")
        self.bytesMax = bytesMax
        self.depthMax = depthMax
        self.stringBytesMax = stringBytesMax
        self.keyBytesMax = keyBytesMax
        self.numberBytesMax = numberBytesMax
        self.membersMax = membersMax
        self.elementsMax = elementsMax
        self.valuesMax = valuesMax
        self.allowsNullCharacter = allowsNullCharacter
    }

    /// The limits used when none are named.
    public static let `default` = JSONLimits()
}

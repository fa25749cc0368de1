public import JSON

/// The question: may this principal do this to that, here and now.
///
/// Laid out flat when it is made, so that deciding touches no reference counts. Immutable.
public struct Request: Sendable {
    let storage: Storage

    /// Asks with a context built from values.
    public init(
        principal: EntityUID,
        action: EntityUID,
        resource: EntityUID,
        context: [Text: Value] = [:]
    ) {
        let heap = Heap(.request)
        self.init(
            Storage(
                heap,
                principal: heap.add(entity: principal),
                action: heap.add(entity: action),
                resource: heap.add(entity: resource),
                context: heap.add(context)
            )
        )
    }

    init(_ storage: Storage) {
        self.storage = storage
    }

    final class Storage: Sendable {
        let heap: Heap
        let principal: Cell
        let action: Cell
        let resource: Cell
        let context: Cell

        init(_ heap: Heap, principal: Cell, action: Cell, resource: Cell, context: Cell) {
            self.heap = heap
            self.principal = principal
            self.action = action
            self.resource = resource
            self.context = context
        }
    }
}

/// Allow or deny.
public enum Decision: UInt8, Hashable, Sendable {
    /// A permit applies and no forbid does.
    case allow
    /// Everything else.
    case deny
}

/// The answer to a ``Request``, with what it rests on.
public struct Response: Hashable, Sendable {
    /// Allow or deny.
    public let decision: Decision
    /// The forbids that apply; if there are none, the permits that apply; in the order of the set.
    public let determining: [PolicyID]
    /// The policies that could not be evaluated and were left out.
    ///
    /// A caller that must fail closed treats any of them as a denial.
    public let errors: [EvaluationError]
}

/// A policy that could not be evaluated for a request.
public struct EvaluationError: Error, Hashable, Sendable {
    /// What went wrong.
    public enum Kind: String, CaseIterable, Hashable, Sendable {
        /// An operator or function met a value of another type.
        case typeMismatch = "type_mismatch"
        /// An integer result beyond 64 bits.
        case integerOverflow = "integer_overflow"
        /// An attribute that is not there.
        case missingAttribute = "missing_attribute"
        /// A tag that is not there.
        case missingTag = "missing_tag"
        /// An entity without data.
        case missingEntity = "missing_entity"
        /// An extension function with the wrong number of arguments.
        case wrongArgumentCount = "wrong_argument_count"
        /// A text that is no value of an extension type, or a result beyond its range.
        case invalidExtensionValue = "invalid_extension_value"
    }

    /// The policy.
    public let policy: PolicyID
    /// What went wrong.
    public let kind: Kind
    /// Where in the policy text.
    public let span: SourceSpan
}

extension EvaluationError: CustomStringConvertible {
    /// The kind of the error, without values.
    public var description: String {
        "evaluation failed: \(kind.rawValue) at bytes \(span.start)..<\(span.end)"
    }
}

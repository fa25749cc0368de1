/// What becomes of one member when an object is copied.
public enum JSONMemberCopy: Hashable, Sendable {
    /// It is written as it is.
    case keep
    /// It is left out.
    case drop
    /// The closure has written something in its place, or nothing, itself.
    case replaced
}

/// Changing a message without building a tree: an object is written again member by member.
extension JSONWriter {
    /// Writes an object with the members of another one, except some, and with extra ones at the end.
    ///
    /// The caller names every added key in `except` too, or knows that it cannot be there: a copy with two equal
    /// names would be refused by the next strict reader.
    public mutating func object<E: Error>(
        copying object: JSONValue,
        except names: [StaticString] = [],
        adding extra: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        beginObject()
        members(of: object, except: names)
        try extra(&self)
        endObject()
    }

    /// Writes an object with the members of another one, except some.
    public mutating func object(copying object: JSONValue, except names: [StaticString]) {
        self.object(copying: object, except: names) { _ in }
    }

    /// Writes the members of an object, except some, into the object that is open.
    public mutating func members(of object: JSONValue, except names: [StaticString] = []) {
        for (key, value) in object.members where !names.contains(where: { key.equals($0) }) {
            self.key(key)
            copy(value)
        }
    }

    /// Writes an object in the order of another one, asking for each member what becomes of it.
    ///
    /// `rewrite` may write in place (key and value, then `.replaced`), which keeps the order that clients saw
    /// upstream. `extra` writes what comes at the end.
    public mutating func object<E: Error>(
        copying object: JSONValue,
        rewriting rewrite: (inout JSONWriter, JSONString, JSONValue) throws(E) -> JSONMemberCopy,
        adding extra: (inout JSONWriter) throws(E) -> Void
    ) throws(E) {
        beginObject()
        for (key, value) in object.members {
            guard try rewrite(&self, key, value) == .keep else { continue }
            self.key(key)
            copy(value)
        }
        try extra(&self)
        endObject()
    }
}

import ControlProtocol
import Foundation
import SwiftProtobuf
import Testing

/// The hand-written encoder writes what the generated one would.
@Suite struct AppendEncodingTests {
    @Test(arguments: [0, 1, 2, 127, 128, 300, 70_000])
    func `a batch is encoded as the generated code encodes it`(size: Int) throws {
        for epoch in [0, 1, 127, 128, .max] as [UInt64] {
            for count in 0...3 {
                var append = WireAppend()
                append.epoch = epoch
                append.records = (0..<count).map { record(UInt64($0) * 1_000_003, size) }
                var message = WireProxyMessage()
                message.append = append
                let generated: [UInt8] = try message.serializedBytes()
                #expect(append.proxyMessageBytes() == generated)
            }
        }
    }

    private func record(_ n: UInt64, _ size: Int) -> WireRecord {
        var record = WireRecord()
        record.n = n
        record.lane = n == 0 ? .unspecified : .committed
        record.body = Data(repeating: 7, count: size)
        for index in 0..<Int(n % 3) {
            var part = WirePart()
            part.name = index == 0 ? "arguments" : ""
            part.salt = Data(repeating: 1, count: index == 0 ? 32 : 0)
            part.content = Data(repeating: 2, count: size / (index + 1))
            record.parts.append(part)
        }
        return record
    }
}

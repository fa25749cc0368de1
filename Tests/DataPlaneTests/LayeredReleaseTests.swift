import ControlProtocol
import GatewayModel
import GatewayPolicy
import JSON
import Testing

@testable import DataPlane

/// Documents of layers as a proxy compiles them.
@Suite struct LayeredReleaseTests {
    static func configuration(
        _ text: String,
        rank: String = "team",
        owned: [String]? = [#"MCP::Server::"k8s""#]
    ) -> WireConfiguration {
        var document = WirePolicyDocument()
        document.name = "team.cedar"
        document.text = WirePolicyDocument.textOfLayered
        document.layered.text = text
        document.layered.rank = rank
        document.layered.name = "platform"
        if let owned { document.layered.owned.entities = owned }
        var configuration = ShadowTests.configuration(shadow: nil)
        configuration.policy.documents = [document]
        return configuration
    }

    static func permit(_ server: String) -> String {
        #"@id("p") permit (principal, action, resource in MCP::Server::"\#(server)");"#
    }

    static func refusal(_ configuration: WireConfiguration) -> String? {
        do {
            _ = try GatewaySnapshot(compiling: configuration, for: "sre")
            return nil
        } catch {
            return error.reason
        }
    }

    @Test func `a document of a layer is compiled as it is written`() throws {
        let snapshot = try GatewaySnapshot(
            compiling: Self.configuration(Self.permit("k8s")),
            for: "sre"
        )
        let decision = try ShadowTests.answer(of: snapshot.decisionPoint, in: snapshot)
        #expect(decision.answer == .permit && decision.determining == ["p"])
    }

    @Test func `what reaches beyond its layer is not taken`() {
        let refusal = Self.refusal(Self.configuration(Self.permit("db")))
        #expect(refusal?.contains("team.cedar:1:1: the layer platform does not own") == true)
    }

    @Test func `a layer that is not known is not taken`() {
        for configuration in [
            Self.configuration(Self.permit("k8s"), rank: "galaxy"),
            Self.configuration(Self.permit("k8s"), rank: ""),
            Self.configuration(Self.permit("k8s"), owned: nil),
            Self.configuration(Self.permit("k8s"), owned: ["everything"]),
        ] {
            #expect(Self.refusal(configuration)?.contains("team.cedar") == true)
        }
    }

    @Test(arguments: ["team.cedar", "facts.json"])
    func `a build that does not know layers cannot compile a document of one`(name: String) {
        // What it sees of the message: name and text.
        var configuration = Self.configuration(Self.permit("k8s"))
        configuration.policy.documents[0].name = name
        configuration.policy.documents[0].clearLayered()
        #expect(Self.refusal(configuration)?.contains(name) == true)
    }
}

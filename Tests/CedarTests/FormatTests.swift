import Cedar
import Testing

/// Layout for people: one form, and no comment lost.
@Suite struct FormatTests {
    @Test func `comments stay where they explain something`() throws {
        let text = """
            // The rules of the house.

            // Guests may look.
            permit(principal,action==Action::"look",resource);  // for now
            // Nobody may smoke.
            forbid( principal, action, resource ) when{ context.smokes };
            permit(principal, action, // anything
                resource);


            // The end.
            """
        let formatted = try PolicySet.formatted(text: text)
        #expect(
            formatted.text == """
                // The rules of the house.

                // Guests may look.
                permit (principal, action == Action::"look", resource);  // for now

                // Nobody may smoke.
                forbid (principal, action, resource)
                when { context.smokes };

                permit(principal, action, // anything
                    resource);

                // The end.

                """
        )
        #expect(formatted.keptAsWritten == ["policy2"])
        #expect(try PolicySet.formatted(text: formatted.text).text == formatted.text)
    }

    @Test(arguments: [
        "", "// only words\n", "permit (principal, action, resource);\n",
        "@a(\"// no comment\")\npermit (principal, action, resource)\nwhen { \"//\" like \"*\" };\n",
    ])
    func `what is laid out stays as it is`(text: String) throws {
        #expect(try PolicySet.formatted(text: text).text == text)
    }
}

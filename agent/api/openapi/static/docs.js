"use strict";
const none = () => () => null;

// The viewer's select has no name for screen readers.
const labelled = (Original, system) => (props) =>
  system.React.createElement(
    "label",
    null,
    "Example: ",
    system.React.createElement(Original, { ...props, showLabels: false }),
  );

const plain = (_, system) => (props) =>
  system.React.createElement("span", null, props.text);

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "list",
  defaultModelExpandDepth: 3,
  // Only reads can be sent from the page: on a till that sells, a trial capture would be real.
  supportedSubmitMethods: ["get"],
  // The viewer's default asks a server on the internet.
  validatorUrl: null,
  plugins: [
    {
      wrapComponents: {
        // A page cannot send the token that these ask for: with one set, it is not served.
        authorizeBtn: none,
        authorizeOperationBtn: none,
        ServersContainer: none,
        // A button or link within a button cannot be reached with a keyboard.
        CopyToClipboardBtn: none,
        DeepLink: plain,
        ExamplesSelect: labelled,
      },
    },
  ],
});

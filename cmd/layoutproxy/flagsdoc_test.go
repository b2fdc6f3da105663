package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// docs/configuration.md explains every setting of serve, and no setting that does not exist.
func TestConfigurationPageHasEverySetting(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	layouttest.Try(t, err)
	data, err := os.ReadFile("../../docs/config.schema.json") // another test compares the schema with the flags
	layouttest.Try(t, err)
	var schema struct {
		Properties map[string]any `json:"properties"`
	}
	layouttest.Try(t, json.Unmarshal(data, &schema))
	if len(schema.Properties) < 30 {
		t.Fatalf("the schema has %d settings, want at least 30", len(schema.Properties))
	}
	_, table, _ := strings.Cut(string(page), "\n## All settings\n")
	table, _, _ = strings.Cut(table, "\n## ")
	// The file cannot set config and check-config. sources is a key of the file, not a flag.
	shown := map[string]bool{"config": true, "check-config": true, "output": true, "sources": true}
	for _, m := range regexp.MustCompile("`--([a-z0-9-]+)").FindAllStringSubmatch(table, -1) {
		shown[m[1]] = true
		if _, ok := schema.Properties[m[1]]; !ok && m[1] != "config" && m[1] != "check-config" && m[1] != "output" {
			t.Errorf("docs/configuration.md explains --%s, want only settings of serve", m[1])
		}
	}
	for name := range schema.Properties {
		if !shown[name] {
			t.Errorf("docs/configuration.md does not explain --%s, want an explanation: add it to a table below \"All settings\"", name)
		}
	}
}

package inventory_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// schema has the keywords of JSON Schema (draft 2020-12) that docs/inventory.schema.json uses.
type schema struct {
	Type       string             `json:"type"`
	Const      any                `json:"const"`
	Pattern    string             `json:"pattern"`
	Minimum    *float64           `json:"minimum"`
	MinLength  int                `json:"minLength"`
	Additional *bool              `json:"additionalProperties"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
}

// check returns an error unless the value v matches the schema. at is the path of v, for errors.
func (s *schema) check(at string, v any) error {
	if s.Const != nil && s.Const != v {
		return fmt.Errorf("%s: got %v, want %v", at, v, s.Const)
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" || s.Additional == nil || *s.Additional {
			return fmt.Errorf("%s: got an object, but the schema requires the type %q", at, s.Type)
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Errorf("%s: the field %s is missing", at, name)
			}
		}
		for name, value := range v {
			if s.Properties[name] == nil {
				return fmt.Errorf("%s: the field %s is unknown", at, name)
			}
			if err := s.Properties[name].check(at+"."+name, value); err != nil {
				return err
			}
		}
	case []any:
		if s.Type != "array" {
			return fmt.Errorf("%s: got a list, but the schema requires the type %q", at, s.Type)
		}
		for n, value := range v {
			if err := s.Items.check(fmt.Sprintf("%s[%d]", at, n), value); err != nil {
				return err
			}
		}
	case string:
		if s.Type != "string" || len(v) < s.MinLength || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Errorf("%s: %q", at, v)
		}
	case float64:
		if s.Const == nil && (s.Type != "integer" || s.Minimum == nil || v < *s.Minimum) {
			return fmt.Errorf("%s: %v", at, v)
		}
	default:
		return fmt.Errorf("%s: %v", at, v)
	}
	return nil
}

// The JSON schema accepts valid inventories and refuses invalid ones, like the parser.
func TestSchemaMatchesParser(t *testing.T) {
	data, err := os.ReadFile("../../docs/inventory.schema.json")
	layouttest.Try(t, err)
	var s schema
	layouttest.Try(t, json.Unmarshal(data, &s))
	signed, _, err := signingKey(t, "p256").EncodeSigned(sample(t))
	layouttest.Try(t, err)
	for _, text := range [][]byte{encode(t, sample(t)), signed} {
		var v any
		layouttest.Try(t, json.Unmarshal(text, &v))
		if err := s.check("inventory", v); err != nil {
			t.Error(err)
		}
	}
	for what, change := range map[string]func(v map[string]any){
		"another version": func(v map[string]any) { v["formatVersion"] = 2.0 },
		"another field":   func(v map[string]any) { v["more"] = "x" },
		"no blobs":        func(v map[string]any) { delete(v, "blobs") },
		"a negative size": func(v map[string]any) { v["files"].([]any)[0].(map[string]any)["size"] = -1.0 },
		"an illegal name": func(v map[string]any) { v["files"].([]any)[0].(map[string]any)["name"] = "../x" },
		"an illegal id":   func(v map[string]any) { v["bundle"] = "sha256:x" },
	} {
		var v map[string]any
		layouttest.Try(t, json.Unmarshal(signed, &v))
		change(v)
		if s.check("inventory", v) == nil {
			t.Errorf("%s: the schema returned no error, want one", what)
		}
		text, err := json.Marshal(v)
		layouttest.Try(t, err)
		if _, err := inventory.Parse(text); err == nil {
			t.Errorf("%s: Parse returned no error, want one", what)
		}
	}
}

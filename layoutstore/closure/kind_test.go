package closure_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// fieldsOf maps each field of a manifest to a value with one descriptor.
func fieldsOf() map[string]string {
	d := `{"mediaType":"application/x","digest":"` + digest.FromString("x").String() + `","size":1}`
	return map[string]string{"config": d, "layers": "[" + d + "]", "manifests": "[" + strings.Replace(d, "application/x", specs.MediaTypeImageManifest, 1) + "]", "blobs": "[" + d + "]"}
}

func kinds() map[string][]string {
	return map[string][]string{
		"image":    {specs.MediaTypeImageManifest, closure.DockerManifest},
		"index":    {specs.MediaTypeImageIndex, closure.DockerManifestList},
		"artifact": {closure.ArtifactManifest},
	}
}

func kindOfType(mediaType string) string {
	for kind, types := range kinds() {
		if slices.Contains(types, mediaType) {
			return kind
		}
	}
	return ""
}

// This test combines each set of fields with each mediaType and each media type of a descriptor. A
// document is accepted only if all three agree (image-spec 1.1, manifest.md and image-index.md).
// Otherwise it could be read in two ways, as in CVE-2021-41190. containerd fixed that with
// validateMediaType in core/images/image.go, and distribution in manifest/ocischema.
func TestManifestMustBeOfOneKind(t *testing.T) {
	names := []string{"config", "layers", "manifests", "blobs"}
	kindOfName := map[string]string{"config": "image", "layers": "image", "manifests": "index", "blobs": "artifact"}
	types := []string{"", "text/plain"}
	for _, kind := range []string{"image", "index", "artifact"} {
		types = append(types, kinds()[kind]...)
	}
	for set := 0; set < 1<<len(names); set++ {
		var fields, kindsHere []string
		for i, name := range names {
			if set&(1<<i) != 0 {
				fields = append(fields, fmt.Sprintf("%q:%s", name, fieldsOf()[name]))
				if !slices.Contains(kindsHere, kindOfName[name]) {
					kindsHere = append(kindsHere, kindOfName[name])
				}
			}
		}
		for _, own := range types {
			for _, descriptor := range types {
				doc := slices.Clone(fields)
				if own != "" {
					doc = append(doc, fmt.Sprintf(`"mediaType":%q`, own))
				}
				body := "{" + strings.Join(doc, ",") + "}"
				_, got, wrong, err := closure.ParseAs([]byte(body), slices.DeleteFunc([]string{descriptor}, func(s string) bool { return s == "" })...)
				want := agrees(kindsHere, own, descriptor)
				if (err == nil) != want {
					t.Errorf("ParseAs(%s, %q): got the error %v; want success: %v", body, descriptor, err, want)
				}
				if err == nil && (len(wrong) > 0 || descriptor != "" && got != descriptor) {
					t.Errorf("ParseAs(%s, %q): got the media type %q and the wrong types %q; want the descriptor's type and no wrong types", body, descriptor, got, wrong)
				}
			}
		}
	}
}

// agrees reports whether a document should be accepted, given its fields, its mediaType and the
// media type in its descriptor.
func agrees(fields []string, own, descriptor string) bool {
	// According to the descriptor, the document is not a manifest. The document contradicts this
	// only if it states the media type of a manifest itself.
	if descriptor == "text/plain" {
		return len(fields) > 1 || kindOfType(own) == "" || len(fields) == 1 && fields[0] != kindOfType(own)
	}
	if len(fields) > 1 || own != "" && descriptor != "" && own != descriptor {
		return false
	}
	says := own
	if own == "" {
		says = descriptor
	}
	if len(fields) == 0 {
		// If the document has none of the fields, its mediaType decides. If it has no mediaType
		// either, the document is an image.
		return own != "" || descriptor == "" || kindOfType(descriptor) == "image"
	}
	return kindOfType(says) == "" || kindOfType(says) == fields[0]
}

// Parse refuses JSON that two readers could understand differently. For example, package
// encoding/json ignores case, and uses the last one of two fields with the same name.
func TestAmbiguousFields(t *testing.T) {
	d, other := digest.FromString("x").String(), digest.FromString("y").String()
	layer := `{"mediaType":"l","digest":"` + d + `","size":1}`
	for name, body := range map[string]string{
		"layers twice":                      `{"layers":[` + layer + `],"layers":[]}`,
		"layers and Layers":                 `{"layers":[` + layer + `],"Layers":[]}`,
		"MANIFESTS":                         `{"config":` + layer + `,"MANIFESTS":[]}`,
		"mediaType twice":                   `{"mediaType":"` + specs.MediaTypeImageManifest + `","mediaType":"` + specs.MediaTypeImageIndex + `"}`,
		"an escaped field name":             `{"layers":[` + layer + `],"l\u0061yers":[]}`,
		"a long s":                          `{"layer\u017f":[` + layer + `]}`,
		"digest twice":                      `{"layers":[{"digest":"` + d + `","size":1,"digest":"` + other + `"}]}`,
		"digest and Digest":                 `{"config":{"digest":"` + d + `","size":1,"Digest":"` + other + `"}}`,
		"size and SIZE in a child":          `{"manifests":[` + layer + `,{"digest":"` + d + `","size":1,"SIZE":2}]}`,
		"mediaType and mediatype in a blob": `{"blobs":[{"digest":"` + d + `","size":1,"mediatype":"x"}]}`,
		"digest and Digest in a subject":    `{"config":` + layer + `,"subject":{"digest":"` + d + `","Digest":"` + other + `"}}`,
		"config twice, once null":           `{"config":` + layer + `,"config":null}`,
	} {
		if _, err := closure.Parse([]byte(body)); !errors.Is(err, closure.ErrAmbiguous) {
			t.Errorf("Parse(%s): got the error %v, want ErrAmbiguous", name, err)
		}
	}
	for name, body := range map[string]string{
		"an unknown field twice":        `{"config":` + layer + `,"x":1,"x":[{"a":"}"}]}`,
		"space":                         " {\n \"layers\" : [ " + layer + " , " + layer + " ] ,\t\"manifests\" : null , \"config\":" + layer + "\r\n} ",
		"annotations named like fields": `{"config":` + layer + `,"annotations":{"layers":"a","Layers":"b","manifests":"\\\"]"}}`,
		"an index with null manifests":  `{"manifests":null}`,
	} {
		if _, err := closure.Parse([]byte(body)); err != nil {
			t.Errorf("Parse(%s): got the error %v, want none", name, err)
		}
	}
	for _, body := range []string{`null`, `{"fsLayers":[{"blobSum":"` + d + `"}]}`, `[]`, `"x"`} {
		if _, err := closure.Parse([]byte(body)); err == nil {
			t.Errorf("Parse(%s): got no error, want one", body)
		}
	}
}

// Only layers can be optional, and only because of their media type. The URLs of a layer do not
// count (image-spec 1.1, layer.md, "Non-Distributable Layers").
func TestOptionalLayers(t *testing.T) {
	d := `"digest":"` + digest.FromString("x").String() + `","size":1`
	for mediaType, want := range map[string]bool{
		"application/vnd.oci.image.layer.nondistributable.v1.tar":           true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip":      true,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd":      true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":         true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar":              true,
		specs.MediaTypeImageLayerGzip:                                       false,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":                 false,
		"application/vnd.example.foreign":                                   false,
		"application/vnd.example.nondistributable.tar":                      false,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+encrypted": false,
		"": false,
	} {
		descriptor := `{"mediaType":"` + mediaType + `",` + d + `,"urls":["https://files.example/layer"]}`
		for _, field := range []string{`"layers":[` + descriptor + `]`, `"config":` + descriptor, `"blobs":[` + descriptor + `]`} {
			r, err := closure.Parse([]byte("{" + field + "}"))
			if err != nil {
				t.Fatal(err)
			}
			if layer := strings.HasPrefix(field, `"layers"`); r.Blobs[0].Optional != (want && layer) {
				t.Errorf("Parse({%s}): Optional = %v, want %v", field, r.Blobs[0].Optional, want && layer)
			}
		}
	}
}

// If exactly one media type in the descriptors fits the manifest, Walk reports the others as wrong.
// If none fits, or if two fit, Walk refuses the manifest.
func TestWalkChoosesMediaType(t *testing.T) {
	typed := []byte(`{"mediaType":"` + specs.MediaTypeImageManifest + `","config":` + fieldsOf()["config"] + `}`)
	bare := []byte(`{"config":` + fieldsOf()["config"] + `}`)
	for name, tc := range map[string]struct {
		body         []byte
		types        []string
		right        string
		contradicted []string
		blobs        int
	}{
		"none":                            {typed, nil, specs.MediaTypeImageManifest, nil, 1},
		"one":                             {typed, []string{specs.MediaTypeImageManifest}, specs.MediaTypeImageManifest, nil, 1},
		"second":                          {typed, []string{closure.DockerManifest, specs.MediaTypeImageManifest}, specs.MediaTypeImageManifest, []string{closure.DockerManifest}, 1},
		"opaque first":                    {typed, []string{"text/plain", specs.MediaTypeImageManifest}, specs.MediaTypeImageManifest, []string{"text/plain"}, 1},
		"wrong":                           {typed, []string{specs.MediaTypeImageIndex}, "", nil, 0},
		"opaque":                          {typed, []string{"text/plain"}, "", nil, 0},
		"bare":                            {bare, []string{closure.DockerManifest}, closure.DockerManifest, nil, 1},
		"bare, both":                      {bare, []string{closure.DockerManifest, specs.MediaTypeImageManifest}, "", nil, 0},
		"no mediaType, called an index":   {bare, []string{specs.MediaTypeImageIndex}, "", nil, 0},
		"no mediaType, called plain text": {bare, []string{"text/plain"}, "text/plain", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := digest.FromBytes(tc.body)
			top := closure.Top{Digest: d, Sizes: []int64{int64(len(tc.body))}, Tags: []string{"t"}}
			if len(tc.types) > 0 {
				top.MediaType, top.Others = tc.types[0], tc.types[1:]
			}
			g, err := closure.Walk(context.Background(), []closure.Top{top}, content{d: tc.body}.read)
			if err != nil {
				t.Fatal(err)
			}
			m := g.Manifests[0]
			if tc.right == "" {
				if !errors.Is(m.Unavailable, closure.ErrContradiction) {
					t.Errorf("got the error %v, want ErrContradiction", m.Unavailable)
				}
				return
			}
			if m.Unavailable != nil || m.MediaType != tc.right || !slices.Equal(m.Contradicted, tc.contradicted) || len(g.Blobs) != tc.blobs {
				t.Errorf("got the manifest %+v and %d blobs; want the media type %q, the wrong media types %q and %d blobs", m, len(g.Blobs), tc.right, tc.contradicted, tc.blobs)
			}
		})
	}
}

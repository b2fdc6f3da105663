package volume_test

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

func TestClassifyFileNames(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		name    string
		kind    volume.NameKind
		archive string
		unread  bool
		advice  string // a substring
	}{
		{"b.tar", volume.NameArchive, "b.tar", false, ""},
		{"b.part1.tar", volume.NameArchive, "b.part1.tar", false, ""},
		{"b.tar.0000.chunk", volume.NameChunk, "b.tar", false, ""},
		{"b.tar.10000.chunk", volume.NameChunk, "b.tar", false, ""},

		// These are parts of archives. They were named by split(1) of GNU coreutils with and
		// without -d, -a and a dot, by 7-Zip, or by hand.
		{"b.tar.aa", volume.NameForeign, "b.tar", true, "cat b.tar.?? > b.tar"},
		{"b.tar.zz", volume.NameForeign, "b.tar", true, "cat b.tar.?? > b.tar"},
		{"b.tar.zaaa", volume.NameForeign, "b.tar", true, "cat b.tar.???? > b.tar"},
		{"b.tar.aab", volume.NameForeign, "b.tar", true, "cat b.tar.??? > b.tar"},
		{"b.taraa", volume.NameForeign, "b.tar", true, "cat b.tar?? > b.tar"},
		{"b.tar-ab", volume.NameForeign, "b.tar", true, "cat b.tar-?? > b.tar"},
		{"b.tar_ab", volume.NameForeign, "b.tar", true, "cat b.tar_?? > b.tar"},
		{"b.tar.001", volume.NameForeign, "b.tar", true, "cat b.tar.??? > b.tar"},
		{"b.tar00", volume.NameForeign, "b.tar", true, "cat b.tar?? > b.tar"},
		{"b.tar.1", volume.NameForeign, "b.tar", true, "cat b.tar.? > b.tar"},
		{"b.tar.20261001", volume.NameForeign, "b.tar", true, "whole archive"},
		{"b.tar.part1", volume.NameForeign, "b.tar", true, "cat b.tar.part? > b.tar"},
		{"b.tar.partaa", volume.NameForeign, "b.tar", true, "cat b.tar.part?? > b.tar"},
		{"b.tar.part-01", volume.NameForeign, "b.tar", true, "cat b.tar.part-?? > b.tar"},
		{"b.tar_part_01", volume.NameForeign, "b.tar", true, "cat b.tar_part_?? > b.tar"},
		{"b.tar.PART01", volume.NameForeign, "b.tar", true, "cat b.tar.PART?? > b.tar"},
		{"b.tar.chunk0001", volume.NameForeign, "b.tar", true, "cat b.tar.chunk???? > b.tar"},
		{"b.tar.1of3", volume.NameForeign, "b.tar", true, "> b.tar"},
		{"a b.tar.aa", volume.NameForeign, "a b.tar", true, "cat 'a b.tar'.?? > 'a b.tar'"},
		{"it's.tar.aa", volume.NameForeign, "it's.tar", true, `cat 'it'\''s.tar'.??`},

		// The names of these chunks and archives are almost right.
		{"b.TAR", volume.NameForeign, "b.tar", true, "mv b.TAR b.tar"},
		{"b.Tar", volume.NameForeign, "b.tar", true, "mv b.Tar b.tar"},
		{"b.tar.0000.CHUNK", volume.NameForeign, "b.tar", true, "mv b.tar.0000.CHUNK b.tar.0000.chunk"},
		{"b.TAR.0000.chunk", volume.NameForeign, "b.tar", true, "mv b.TAR.0000.chunk b.tar.0000.chunk"},
		{"b.tar.1.chunk", volume.NameForeign, "b.tar", true, "mv b.tar.1.chunk b.tar.0001.chunk"},
		{"b.tar.012.chunk", volume.NameForeign, "b.tar", true, "mv b.tar.012.chunk b.tar.0012.chunk"},
		{"b.tar.aa.chunk", volume.NameForeign, "b.tar", true, "rename"},
		{"b.tar.chunk", volume.NameForeign, "b.tar", true, "rename"},
		{"b.0000.chunk", volume.NameForeign, "b.tar", true, "rename"},

		// These archives must be unpacked first.
		{"b.tar.gz", volume.NameCompressed, "b.tar", true, "gunzip b.tar.gz"},
		{"b.TAR.GZ", volume.NameCompressed, "b.tar", true, "gunzip b.TAR.GZ"},
		{"b.tgz", volume.NameCompressed, "b.tar", true, "gunzip b.tgz"},
		{"b.tar.Z", volume.NameCompressed, "b.tar", true, "gunzip b.tar.Z"},
		{"b.tar.zst", volume.NameCompressed, "b.tar", true, "unzstd b.tar.zst"},
		{"b.tzst", volume.NameCompressed, "b.tar", true, "unzstd b.tzst"},
		{"b.tar.xz", volume.NameCompressed, "b.tar", true, "unxz b.tar.xz"},
		{"b.txz", volume.NameCompressed, "b.tar", true, "unxz b.txz"},
		{"b.tar.bz2", volume.NameCompressed, "b.tar", true, "bunzip2 b.tar.bz2"},
		{"b.tbz", volume.NameCompressed, "b.tar", true, "bunzip2 b.tbz"},
		{"b.tar.lz4", volume.NameCompressed, "b.tar", true, "unlz4 b.tar.lz4"},
		{"b.tar.lz", volume.NameCompressed, "b.tar", true, "lzip -d b.tar.lz"},
		{"b.tar.0000.chunk.gz", volume.NameCompressed, "b.tar", true, "gunzip b.tar.0000.chunk.gz"},
		{"b.tar.gz.aa", volume.NameCompressed, "b.tar", true, "join the parts"},
		{"b.tgz.001", volume.NameCompressed, "b.tar", true, "join the parts"},
		{"b.tar.gz.0000.chunk", volume.NameCompressed, "b.tar", true, "join the parts"},
		{"b.tar.gpg", volume.NameForeign, "b.tar", true, "decrypt"},
		{"b.tar.gz.age", volume.NameForeign, "b.tar", true, "decrypt"},

		// These are temporary names of uploads by rsync, lftp, ProFTPD, WinSCP and rclone, and of downloads by
		// browsers, aria2 and aws s3. The last four end in .tmp, which the format of bundles reserves.
		{".b.tar.Ab3xYz", volume.NameUpload, "b.tar", false, "wait"},
		{".b.tar.0000.chunk.Ab3xYz", volume.NameUpload, "b.tar", false, "wait"},
		{".index.json.Ab3xYz", volume.NameUpload, "", false, "wait"},
		{"." + hex + ".Ab3xYz", volume.NameUpload, "", false, "wait"},
		{".in.b.tar", volume.NameUpload, "b.tar", false, "wait"},
		{".in.b.tar.", volume.NameUpload, "b.tar", false, "wait"},
		{"b.tar.filepart", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.0003.chunk.filepart", volume.NameUpload, "b.tar", true, "wait"},
		{"index.json.filepart", volume.NameUpload, "", false, "wait"},
		{"b.tar.part", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.crdownload", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.aria2", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.0a1B2c3d.partial", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.6eFb5bDa", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.gz.part", volume.NameUpload, "b.tar", true, "wait"},
		{"b.tar.tmp", volume.NameUpload, "b.tar", false, "wait"},
		{"b.tar.0000.chunk.tmp", volume.NameUpload, "b.tar", false, "wait"},
		{"x.tmp", volume.NameUpload, "", false, "wait"},
		{".x.tmp", volume.NameUpload, "", false, "wait"},

		{".b.tar", volume.NameOther, "", false, ""},
		{".gitignore", volume.NameOther, "", false, ""},
		{".config.backup", volume.NameOther, "", false, ""},
		{"b.tar.gostsum", volume.NameOther, "", false, ""},
		{"b.tar.0000.chunk.gostsum", volume.NameOther, "", false, ""},
		{"b.tar.sha256", volume.NameOther, "", false, ""},
		{"b.tar.sha256sum", volume.NameOther, "", false, ""},
		{"b.tar.md5", volume.NameOther, "", false, ""},
		{"b.tar.asc", volume.NameOther, "", false, ""},
		{"b.tar.sig", volume.NameOther, "", false, ""},
		{"b.tar.ok", volume.NameOther, "", false, ""},
		{"b.tar.txt", volume.NameOther, "", false, ""},
		{"b.tar.gz.sha256", volume.NameOther, "", false, ""},
		{"b.tar.bak", volume.NameOther, "", false, ""},
		{"b.tar.json", volume.NameOther, "", false, ""},
		{"SHA256SUMS", volume.NameOther, "", false, ""},
		{"sha256sum.txt", volume.NameOther, "", false, ""},
		{"deckhousereleases.yaml", volume.NameOther, "", false, ""},
		{"index.json", volume.NameOther, "", false, ""},
		{"oci-layout", volume.NameOther, "", false, ""},
		{"README.md", volume.NameOther, "", false, ""},
		{"a.chunk", volume.NameOther, "", false, ""},
		{"avatar", volume.NameOther, "", false, ""},
		{"star.1", volume.NameOther, "", false, ""},
		{"tar", volume.NameOther, "", false, ""},
		{hex, volume.NameOther, "", false, ""},
		{"", volume.NameOther, "", false, ""},
	} {
		got := volume.ClassifyName(c.name)
		if got.Kind != c.kind || got.Archive != c.archive || got.Unread != c.unread || !strings.Contains(got.Advice, c.advice) {
			t.Errorf("ClassifyName(%q) = %+v, want %+v", c.name, got, c)
		}
		if known := got.Kind == volume.NameOther || got.Kind == volume.NameArchive || got.Kind == volume.NameChunk; known != (got.Reason == "") || known != (got.Advice == "") {
			t.Errorf("ClassifyName(%q): got the reason %q and the advice %q; want both empty: %v", c.name, got.Reason, got.Advice, known)
		}
		if archive, ok := volume.IsArchive(c.name); ok && !strings.HasPrefix(c.name, ".") && (archive != got.Archive || got.Kind != volume.NameArchive && got.Kind != volume.NameChunk) {
			t.Errorf("ClassifyName(%q) = %+v, want an archive or a chunk, and the same archive as from IsArchive", c.name, got)
		}
	}
}

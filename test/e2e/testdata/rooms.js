// Rooms by the SDK's present API. Its own tests of them are of its first version,
// whose publish and play took an element instead of options.
describe("Rooms", function () {
  this.timeout(20000);
  before(function () { Flashphoner.init({}); });

  var enter = (username, room, then) => RoomApi.connect({ urlServer: sOptions.urlServer, username }).on("ESTABLISHED", function (api) {
    then(api.join({ name: room }), api);
  });

  it("tells who joins, publishes, stops and leaves", function (done) {
    var seen = [], display = addDisplay();
    enter("alice", "r1", function (room, alice) {
      room.on("JOINED", (p) => seen.push("joined " + p.name()))
        .on("PUBLISHED", (p) => seen.push("published " + p.getStreams().length))
        .on("LEFT", function (p) {
          seen.push("left " + p.name());
          expect(seen).to.deep.equal(["joined bob", "published 1", "left bob"]);
          alice.disconnect();
          removeDisplay(display);
          done();
        })
        .on("STATE", () => enter("bob", "r1", function (other, bob) {
          other.on("STATE", function (r) {
            expect(r.getParticipants().map((p) => p.name())).to.contain("alice");
            r.publish({ display }).on("PUBLISHING", (s) => setTimeout(() => s.stop(), 500)).on("UNPUBLISHED", () => bob.disconnect());
          });
        }));
    });
  });

  it("plays what was published before and after", function (done) {
    var displays = [addDisplay(), addDisplay(), addDisplay()];
    enter("alice", "r2", function (room, alice) {
      room.on("STATE", (r) => r.publish({ display: displays[0] }).on("PUBLISHING", () => enter("bob", "r2", function (other, bob) {
        other.on("STATE", function (r2) {
          var stream = r2.getParticipants().filter((p) => p.name() === "alice")[0].getStreams()[0];
          stream.play(displays[1]).on("PLAYING", () => r2.publish({ display: displays[2] }));
        });
        room.on("PUBLISHED", (p) => p.getStreams()[0].play(addDisplay()).on("PLAYING", function () {
          alice.disconnect();
          bob.disconnect();
          done();
        }));
      })));
    });
  });

  it("carries messages, and says when one cannot be delivered", function (done) {
    enter("alice", "r3", function (room, alice) {
      room.on("MESSAGE", function (m) {
        expect(m.from.name()).to.equal("bob");
        expect(m.text).to.equal("hello <b>");
        alice.disconnect();
      });
      room.on("STATE", () => enter("bob", "r3", function (other, bob) {
        other.on("STATE", function (r) {
          var peer = r.getParticipants().filter((p) => p.name() === "alice")[0];
          other.on("LEFT", () => peer.sendMessage("too late", function () {
            bob.disconnect();
            done();
          }));
          peer.sendMessage("hello <b>", () => done(new Error("not delivered")));
        });
      }));
    });
  });
});
